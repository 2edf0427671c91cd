"""The sample app of the tests of apps is the ground of the tests of changes."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "apps"))
