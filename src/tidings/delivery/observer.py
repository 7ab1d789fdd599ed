"""Who is told of attempts and their outcomes as they happen, beside the store."""

from collections.abc import Sequence
from typing import Protocol

from tidings.domain.attempt import Outcome


class Observer(Protocol):
    """Who wants to know how providers do that share their messages with others."""

    def began(self, provider: str, attempt: str) -> None:
        """An attempt is about to be handed to the provider."""
        ...

    def outcomes(self, provider: str, batch: Sequence[Outcome]) -> None:
        """What came of attempts."""
        ...


class Nobody:
    """Implements `Observer`."""

    def began(self, provider: str, attempt: str) -> None:
        """See `Observer`."""

    def outcomes(self, provider: str, batch: Sequence[Outcome]) -> None:
        """See `Observer`."""
