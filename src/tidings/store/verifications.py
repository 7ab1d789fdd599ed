"""The store's operations on verifications."""

from tidings.domain.verification import Verification
from tidings.kit.secrets import KeyRing
from tidings.store.engine import Aggregate
from tidings.store.verifying import Act, Done, NewVerification, Started, Tally, VerificationFilter, Withdrawal


class Verifications(Aggregate):
    """Each write is one transaction: two checks of one verification never count as one, nor do two starts slip by a limit."""

    module = "verifications"

    async def start(self, item: NewVerification) -> Started:
        """Begins it with its first event, unless its marks say no."""
        return (await self._engine.write(self._sql.start, [item]))[0]

    async def check(self, item: Act) -> Done:
        """Compares and counts. See `verifying.check_step`."""
        return (await self._engine.write(self._sql.check, [item]))[0]

    async def resend(self, item: Act) -> Done:
        """One more message is to be sent. See `verifying.resend_step`."""
        return (await self._engine.write(self._sql.resend, [item]))[0]

    async def cancel(self, item: Act) -> Done:
        """Ends it."""
        return (await self._engine.write(self._sql.cancel, [item]))[0]

    async def withdraw(self, item: Withdrawal) -> None:
        """What was begun could not be sent."""
        await self._engine.write(self._sql.withdraw, [item])

    async def carried(self, project: str, id: str, channel: str) -> None:
        """The code came by this channel."""
        await self._engine.write(self._sql.carried, [(project, id, channel)])

    async def expire(self, now_ms: int, events: list[str]) -> int:
        """Ends as many whose time is over as there are ids of events; how many it was."""
        return (await self._engine.write(self._sql.expire, [(now_ms, events)]))[0]

    async def overdue(self, now_ms: int, before_ms: int, ended_ms: int, limit: int) -> tuple[int, int, int]:
        """How many are past their time, how many marks are older than `before_ms`, how many ended before `ended_ms`.

        Each up to a limit.
        """
        return await self._engine.read(lambda c: self._sql.overdue(c, now_ms, before_ms, ended_ms, limit))

    async def forget_marks(self, before_ms: int, limit: int) -> int:
        """Removes marks that no window reaches any more; how many it was."""
        return (await self._engine.write(self._sql.forget_marks, [(before_ms, limit)]))[0]

    async def forget(self, ended_ms: int, limit: int) -> int:
        """Removes those that ended before `ended_ms`, with their sealed rows, the oldest first; how many it was."""
        return (await self._engine.write(self._sql.forget, [(ended_ms, limit)]))[0]

    async def get(self, ring: KeyRing, project: str, mode: str, id: str) -> Verification | None:
        """One verification."""
        return await self._engine.read(lambda c: self._sql.get(c, ring, project, mode, id))

    async def page(self, ring: KeyRing, wanted: VerificationFilter) -> list[Verification]:
        """One page, newest first."""
        return await self._engine.read(lambda c: self._sql.page(c, ring, wanted))

    async def tally(self, project: str, mode: str, since_ms: int, until_ms: int, limit: int) -> tuple[list[Tally], int]:
        """By channel and country, and how many verifications that counts: the newest of those begun in the time."""
        return await self._engine.read(lambda c: self._sql.tally(c, project, mode, since_ms, until_ms, limit))

    async def allow(self, project: str, prefix: str, now_ms: int, most: int) -> bool:
        """Numbers that begin so are past the pumping guard; False where there are `most` already."""
        return (await self._engine.write(self._sql.allow, [(project, prefix, now_ms, most)]))[0]

    async def disallow(self, project: str, prefix: str) -> bool:
        """They are not; False: they were not."""
        return (await self._engine.write(self._sql.disallow, [(project, prefix)]))[0]

    async def prefixes(self, project: str, after: str, limit: int) -> list[tuple[str, int]]:
        """(prefix, created_ms) behind `after`, in order."""
        return await self._engine.read(lambda c: self._sql.prefixes(c, project, after, limit))
