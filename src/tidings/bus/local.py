"""Doorbells within one process."""

import asyncio

from tidings.bus.contract import Bell


class Doorbell:
    """One listener's ear on a topic. A ring between two waits is not lost."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def ring(self) -> None:
        """Wakes the waiter, now or at its next wait."""
        self._event.set()

    async def wait(self, timeout_s: float) -> bool:
        """Returns True at a ring, False after `timeout_s` seconds."""
        if not self._event.is_set():
            try:
                async with asyncio.timeout(timeout_s):
                    await self._event.wait()
            except TimeoutError:
                return False
        self._event.clear()
        return True


class LocalBus:
    """Topics and their listeners in this process. Everything runs on the event loop's thread.

    `alone`: there is no other process, so a ring reaches everybody; else the others have to poll.
    """

    def __init__(self, *, alone: bool = True) -> None:
        self._bells: dict[str, list[Bell]] = {}
        self._alone = alone

    @property
    def alone(self) -> bool:
        """See `contract.Bus`."""
        return self._alone

    @property
    def carries(self) -> bool:
        """See `contract.Bus`."""
        return self._alone

    def subscribe(self, topic: str, group: str = "") -> Bell:
        """See `contract.Bus`. Within one process nobody is spared by a group."""
        bell = Doorbell()
        self._bells.setdefault(topic, []).append(bell)
        return bell

    def unsubscribe(self, topic: str, bell: Bell) -> None:
        """Forgets the doorbell."""
        self._bells[topic].remove(bell)

    def ring(self, topic: str) -> None:
        """Rings every doorbell of the topic."""
        for bell in self._bells.get(topic, ()):
            bell.ring()

    def ring_others(self, topic: str) -> None:
        """See `contract.Bus`: there is no way to them."""
