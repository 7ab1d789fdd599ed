"""What the operating system lets this process do."""

import contextlib

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
