"""What every provider over HTTP is, beside its codec: its engine, as `channels.contract.Provider`."""

from collections.abc import Sequence

from tidings.channels.contract import Link
from tidings.channels.http.engine import HttpEngine
from tidings.domain.attempt import Submission
from tidings.domain.message import Lane


class OverHttp:
    """A provider whose messages its `engine` carries. Whoever derives from it makes the engine."""

    engine: HttpEngine

    async def start(self) -> None:
        """Ready to send; the first request shows whether the carrier can be reached."""
        await self.engine.start()

    async def stop(self, drain_s: float) -> None:
        """See `HttpEngine.stop`."""
        await self.engine.stop(drain_s)

    def credit(self, lane: Lane) -> int:
        """See `HttpEngine.credit`."""
        return self.engine.credit(lane)

    def submit(self, batch: Sequence[Submission]) -> None:
        """See `HttpEngine.submit`."""
        self.engine.submit(batch)

    def links(self) -> tuple[Link, ...]:
        """One: HTTP knows no sessions."""
        return (self.engine.link.view(),)
