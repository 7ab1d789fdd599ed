"""What a bus is: doorbells, within one process or between several.

A ring carries no message and may be lost: whoever listens looks into the store when rung, and every so often without. So a
bus can be late, away or wiped, and costs at most one poll. Ringing never waits and never fails.
"""

from typing import Protocol


class Bell(Protocol):
    """One listener's ear on a topic. A ring between two waits is not lost."""

    def ring(self) -> None:
        """Wakes the waiter, now or at its next wait."""
        ...

    async def wait(self, timeout_s: float) -> bool:
        """Returns True at a ring, False after `timeout_s` seconds."""
        ...


class Bus(Protocol):
    """Topics and their listeners."""

    @property
    def alone(self) -> bool:
        """Whether there is no other process to ring for."""
        ...

    @property
    def carries(self) -> bool:
        """Whether a ring reaches every process now; if not, listeners should poll more often."""
        ...

    def subscribe(self, topic: str, group: str = "") -> Bell:
        """A new doorbell on `topic`; give it back with `unsubscribe`.

        Of all listeners of one `group` in other processes a ring reaches only one: enough where anyone can do the work.
        """
        ...

    def unsubscribe(self, topic: str, bell: Bell) -> None:
        """Forgets the doorbell."""
        ...

    def ring(self, topic: str) -> None:
        """Rings the doorbells of the topic, here at once, elsewhere soon."""
        ...

    def ring_others(self, topic: str) -> None:
        """Rings them in other processes only."""
        ...
