"""Reads the text of PDFs, in a process of its own: what is wrong with a file is then wrong with that process only.

Time, memory and what it may write are capped before it sees a byte, and what it says is read as it comes and cut at its
cap. It executes nothing of the file, so it needs no sandbox to be refused in.
"""

from __future__ import annotations

import io
import json
import os
import resource
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

from felix.domain.context.reading import MAX_TEXT_BYTES, DocumentTooLarge, NotReadable

MAX_PAGES = 2_000
#: Unpacking is what a bomb does; a thousand pages of text take two seconds.
WALL_S, CPU_S = 20.0, 10
MEMORY_BYTES = 768 * 2**20
#: Text as JSON: at the worst six bytes of it for one.
MAX_OUTPUT_BYTES = 3 * MAX_TEXT_BYTES
_ENCRYPTED, _TOO_LARGE, _BROKEN = "encrypted", "too large", "broken"


def read_pdf(content: bytes, *, wall_s: float = WALL_S) -> list[str]:
    """The text of each page; nothing for a page that is a picture.

    Raises :class:`NotReadable` and :class:`DocumentTooLarge`.
    """
    if not content.lstrip()[:5] == b"%PDF-":
        raise NotReadable("This is not a PDF.")
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.seek(0)
        said, code = _ask(file.fileno(), wall_s)
    try:
        told = json.loads(said)
    except ValueError:
        told = {}
    if code != 0 or "pages" not in told:
        match told.get("why"):
            case "encrypted":
                raise NotReadable("This PDF is protected with a password.")
            case "too large":
                raise DocumentTooLarge("This PDF has more pages, or more text, than one document may have.")
            case _:
                raise NotReadable("This PDF can't be read: it is damaged, or takes too much time or memory.")
    return [str(page) for page in told["pages"]]


def _ask(file: int, wall_s: float) -> tuple[bytes, int]:
    deadline = time.monotonic() + wall_s
    said = bytearray()
    child = subprocess.Popen(
        [sys.executable, "-I", "-m", __name__],
        stdin=file,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={},
        start_new_session=True,
    )
    assert child.stdout is not None
    try:
        with child.stdout as stream, selectors.DefaultSelector() as selector:
            os.set_blocking(stream.fileno(), False)
            selector.register(stream, selectors.EVENT_READ)
            while (left_s := deadline - time.monotonic()) > 0 and selector.select(left_s):
                piece = stream.read(65_536)
                if not piece:
                    break
                said += piece
                if len(said) > MAX_OUTPUT_BYTES:
                    break
            else:
                child.kill()
        if len(said) > MAX_OUTPUT_BYTES:
            child.kill()
        return bytes(said), child.wait(5)
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()


# --- in the process of its own ------------------------------------------------------------------------------


def main() -> int:
    """Read the PDF from standard input, say what it has."""
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    content = sys.stdin.buffer.read()
    try:
        told: dict[str, object] = {"pages": list(_pages(content))}
    except _Refused as refused:
        told = {"why": str(refused)}
    except MemoryError:
        told = {"why": _BROKEN}
    sys.stdout.write(json.dumps(told))
    return 0


class _Refused(Exception):
    """Why there are no pages."""


def _pages(content: bytes) -> Iterator[str]:
    from pypdf import PdfReader
    from pypdf.errors import PyPdfError

    size_bytes = 0
    try:
        reader = PdfReader(io.BytesIO(content))
        # Many PDFs are encrypted with an empty password, so that they can be read and not changed.
        if reader.is_encrypted and not reader.decrypt(""):
            raise _Refused(_ENCRYPTED)
        if len(reader.pages) > MAX_PAGES:
            raise _Refused(_TOO_LARGE)
        for page in reader.pages:
            text = page.extract_text()
            size_bytes += len(text.encode(errors="replace"))
            if size_bytes > MAX_TEXT_BYTES:
                raise _Refused(_TOO_LARGE)
            yield text
    except _Refused:
        raise
    # Whatever a hostile file makes of the reader ends here, and is told as one thing.
    except (PyPdfError, ValueError, TypeError, LookupError, AttributeError, RecursionError, OSError, ArithmeticError):
        raise _Refused(_BROKEN) from None
    except NotImplementedError:
        raise _Refused(_ENCRYPTED) from None


if __name__ == "__main__":
    sys.exit(main())
