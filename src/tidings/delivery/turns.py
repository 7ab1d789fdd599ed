"""A duty that looks again and again at what comes due by itself (`keeper.Duty`)."""

import abc
import asyncio
import contextlib
import logging

from tidings.domain.errors import StoreError

_log = logging.getLogger(__name__)


class Turns(abc.ABC):
    """One task; each turn is a few cheap reads, and writes only where something is due."""

    name: str  # of the task, for a person

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None

    @abc.abstractmethod
    async def turn(self) -> bool:
        """One look. Says whether there is more to do at once."""

    @abc.abstractmethod
    def pause_s(self) -> float:
        """Until the next look, where there is not."""

    async def start(self) -> None:
        """See `keeper.Duty`."""
        self._task = asyncio.create_task(self.run(), name=self.name)

    async def stop(self) -> None:
        """See `keeper.Duty`."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                busy = await self.turn()
            except Exception as error:  # whatever it was: without this loop nothing would come due any more
                told = not isinstance(error, StoreError)
                _log.warning("the %s failed and will be tried again: %s", self.name, error, exc_info=told)
                busy = False
            if not busy:
                await asyncio.sleep(self.pause_s())
