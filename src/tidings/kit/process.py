"""What the operating system lets this process do."""

import asyncio
import contextlib
import hashlib
import itertools
import os
import secrets
import socket
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: names are then new at each start
    fcntl = None
try:
    import resource
except ImportError:  # Windows has no such limit
    resource = None


def raise_open_files() -> int | None:
    """As many open files, so connections, as this process may have (RLIMIT_NOFILE); how many. None where nobody counts."""
    if resource is None:
        return None
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # some systems say "unlimited" and take less
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


async def ended(task: "asyncio.Task[None]") -> None:
    """Cancels a task and waits for its end."""
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


class NodeName:
    """This process's name among those of its installation: the same after a restart in this place, never another's.

    A file of the data directory, locked as long as the process lives, holds the random part; what machine it is on and which
    file it is are part of the name too, so that a copied directory makes no second node of the same name.
    """

    def __init__(self, folder: Path) -> None:
        """Takes the first file that no living process has. `release` gives it back; so does the end of the process."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for number in itertools.count():
            self._fd = os.open(folder / f"{number}", os.O_RDWR | os.O_CREAT, 0o600)
            if _locked(self._fd):
                break
            os.close(self._fd)
        self.name = f"node-{self._made()}"

    def release(self) -> None:
        """Another process may have the name."""
        os.close(self._fd)

    def _made(self) -> str:
        kept = os.pread(self._fd, 64, 0)
        if not kept or fcntl is None:
            kept = secrets.token_hex(16).encode()
            os.pwrite(self._fd, kept, 0)
            os.fsync(self._fd)
        status = os.fstat(self._fd)
        where = f"{socket.gethostname()}|{_machine()}|{status.st_dev}|{status.st_ino}"
        return hashlib.blake2b(kept + where.encode(), digest_size=8).hexdigest()


def _locked(fd: int) -> bool:
    if fcntl is None:
        return True
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _machine() -> str:
    with contextlib.suppress(OSError):
        return Path("/etc/machine-id").read_text().strip()
    return ""
