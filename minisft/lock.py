"""One process at a time in a folder, by a lock that a crash does not leave behind.

    with locked("checkpoints/run-1"):
        ...                             a second process is refused

The lock is on an empty file in the folder, and it belongs to the process: the operating system ends
it when the process ends, however that happens. The file itself may stay; that locks nothing.
"""

import os
from contextlib import contextmanager, suppress
from pathlib import Path

if os.name == "nt":
    import msvcrt
else:
    import fcntl

LOCK_FILE = ".lock"
ATTEMPTS = 1000


@contextmanager
def locked(folder):
    """Keep all other processes out of a folder, which is made if it does not exist.

    ValueError if another process holds it. A folder that is empty at the end is removed.
    """
    folder = Path(folder)
    if folder.is_file():
        raise ValueError(f"{folder} is a file; name a folder")
    path = folder / LOCK_FILE
    file = _open_locked(path)
    try:
        yield
    finally:
        if os.name == "nt":  # an open file cannot be removed there
            file.close()
        with suppress(OSError):
            path.unlink()
            folder.rmdir()
        file.close()


def _open_locked(path):
    """Open a lock file and lock it; ValueError if it is locked, or cannot be."""
    folder = path.parent
    for _ in range(ATTEMPTS):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = open(path, "ab")
        except (FileExistsError, FileNotFoundError):  # another process has just removed the folder
            continue
        try:
            _lock(file)
            if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                return file
        except FileNotFoundError:
            pass
        except (BlockingIOError, PermissionError):
            file.close()
            raise ValueError(f"{folder} is in use by a run that is not over; wait for its end, "
                             "stop it, or name another folder with --out") from None
        except OSError as error:
            file.close()
            raise ValueError(f"{folder} cannot be locked ({error}); name a folder on a local disk "
                             "with --out") from None
        file.close()  # another process has just removed this file
    raise ValueError(f"{folder} cannot be made, or does not stay; name another folder with --out")


def _lock(file):
    """Lock an open file without waiting; an OSError says that it is locked, or cannot be."""
    if os.name == "nt":
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
