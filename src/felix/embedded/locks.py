"""Takes kernel locks on files; a lock ends with the last process that holds the file open."""

import fcntl


def try_lock(descriptor: int) -> bool:
    """Take the exclusive lock of an open file and say whether it was free."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
