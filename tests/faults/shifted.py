"""Runs a process of Felix with a wrong clock: ``shifted.py MODULE OFFSET_S...``.

With several offsets the clock jumps to the next one five times a second, and stands still in between. Only the clock
of the wall is wrong, as on a machine; the monotonic one is not.
"""

from __future__ import annotations

import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from importlib import import_module
from itertools import cycle

import time_machine

JUMP_EVERY_S = 0.2


def jump(offsets_s: list[float]) -> None:
    """Set the clock anew, for ever."""
    began_at, real = time.monotonic(), datetime.now(UTC)
    for offset_s in cycle(offsets_s):
        now = real + timedelta(seconds=time.monotonic() - began_at)
        with time_machine.travel(now + timedelta(seconds=offset_s), tick=False):
            time.sleep(JUMP_EVERY_S)


def main() -> int:
    """Set the clock, then be that process."""
    module, *offsets = sys.argv[1:]
    offsets_s = [float(offset) for offset in offsets]
    del sys.argv[1:]
    if len(offsets_s) > 1:
        threading.Thread(target=jump, args=(offsets_s,), daemon=True).start()
    else:
        time_machine.travel(datetime.now(UTC) + timedelta(seconds=offsets_s[0]), tick=True).start()
    return import_module(module).main() or 0


if __name__ == "__main__":
    sys.exit(main())
