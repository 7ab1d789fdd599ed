"""Choosing a carrier. Pure."""

from collections.abc import Iterable

import msgspec


class Candidate(msgspec.Struct, frozen=True):
    """A running provider, as far as the choice needs it."""

    name: str
    channel: str
    project: str  # empty: for every project
    sandbox: bool
    usable: bool  # not paused, and its password was not refused


def candidates(fleet: Iterable[Candidate], project: str, mode: str, channel: str) -> list[str]:
    """The providers that may carry it, best first: usable ones, a project's own before the shared ones.

    A test key only ever reaches the sandbox, a live key never.
    """
    fitting = [
        (not c.usable, not c.project, c.name)
        for c in fleet
        if c.channel == channel and c.sandbox == (mode == "test") and c.project in ("", project)
    ]
    return [name for _, _, name in sorted(fitting)]
