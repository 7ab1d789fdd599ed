"""What the operating system lets this process do."""

import contextlib
import gc
import os
import secrets
import socket
from collections.abc import Generator
from pathlib import Path

from tidings.kit.secrets import digest

try:
    import fcntl
except ImportError:  # Windows has no such locks
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


@contextlib.contextmanager
def importing() -> Generator[None]:
    """No garbage collection while a program imports what it needs, nor of that later on.

    Modules stay: to look through them again and again is a tenth of the time that a start takes, and a pause of 80 ms in
    the middle of the work whenever a full collection comes.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@contextlib.contextmanager
def home(folder: Path) -> Generator[str]:
    """A name for this process that the one started in its place on this machine has too, and nobody else; '' if there is none.

    It is in a file of `folder`, locked as long as the process lives: who gets the lock knows that the process before is dead.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for n in range(_HOMES):
        fd = os.open(folder / f"node-{n}", os.O_CREAT | os.O_RDWR, 0o600)
        try:
            if not _locked(fd):
                continue
            yield _name(fd)
            return
        finally:
            os.close(fd)
    yield ""


_HOMES = 64  # processes on one data directory; more than that have no home, and wait for the term of a dead one


def _locked(fd: int) -> bool:
    if fcntl is None:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _name(fd: int) -> str:
    """A copy of the folder elsewhere, or on a machine started anew, is another home."""
    token = os.read(fd, 64) or secrets.token_hex(16).encode()
    os.pwrite(fd, token, 0)
    boot = Path("/proc/sys/kernel/random/boot_id")
    return digest(b"|".join((token, socket.gethostname().encode(), boot.read_bytes() if boot.exists() else b"")))
