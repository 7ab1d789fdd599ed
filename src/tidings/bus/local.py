"""Doorbells within one process."""

import asyncio


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
    """Topics and their listeners. Everything runs on the event loop's thread."""

    def __init__(self) -> None:
        self._bells: dict[str, list[Doorbell]] = {}

    def subscribe(self, topic: str) -> Doorbell:
        """A new doorbell on `topic`; give it back with `unsubscribe`."""
        bell = Doorbell()
        self._bells.setdefault(topic, []).append(bell)
        return bell

    def unsubscribe(self, topic: str, bell: Doorbell) -> None:
        """Forgets the doorbell."""
        self._bells[topic].remove(bell)

    def ring(self, topic: str) -> None:
        """Rings every doorbell of the topic."""
        for bell in self._bells.get(topic, ()):
            bell.ring()
