"""Takes kernel locks on files; a lock ends with the last process that holds the file open."""

import fcntl
import time


def try_lock(descriptor: int) -> bool:
    """Take the exclusive lock of an open file and say whether it was free."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def wait_for_lock(descriptor: int, patience_s: float) -> bool:
    """Take the exclusive lock of an open file, if need be after a while, and say whether that came about."""
    deadline = time.monotonic() + patience_s
    while not try_lock(descriptor):
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.05)
    return True
