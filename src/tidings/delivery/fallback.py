"""The next channel of a message that has several: which one, and whether it is still wanted. See `store/chain.py`.

Everything that this needs is in the store, so a process that is killed loses nothing: the job stays due.
"""

from collections.abc import Callable
from typing import Final

import msgspec

from tidings.domain.address import address_key
from tidings.domain.message import Chain, Message, MessageError, Mode, tried_now
from tidings.domain.status import ENDS
from tidings.domain.view import StoredMessage
from tidings.kit.clock import Clock
from tidings.kit.ids import new_id
from tidings.kit.limits import FALLBACK_BATCH
from tidings.kit.secrets import KeyRing
from tidings.store.chain import Advance, Pending
from tidings.store.contract import End
from tidings.store.sealed import encode_personal
from tidings.store.store import Store

#: `accept.Desk.hint`: the provider that will carry it, '' if several may; None if there is none.
Hint = Callable[[str, Mode, str], str | None]
_NOT_SENT: Final = frozenset({"accepted", "scheduled", "held", "queued", "sending"})
_EXPIRED: Final = MessageError(code="expired", detail="valid_until passed before the next channel could be tried")
_ERASED: Final = MessageError(code="erased", detail="the recipient's data was erased before the next channel was tried")
_NO_PROVIDER: Final = MessageError(code="no_provider", detail="no provider is left for the channels that follow")


def wanted(found: StoredMessage, chain: Chain) -> bool:
    """Whether the message still needs another channel: `fallback.on` fails for what came of those before."""
    status = found.message.status
    if found.read_ms is not None:
        return False
    if status == "delivered":
        return "not_read" in chain.on
    return status not in ENDS


def reason(item: Pending) -> str:
    """Why the channel before it was not enough: failed, not_delivered or not_read."""
    if item.stored.message.status == "delivered":
        return "not_read"
    if item.last is None or item.last[0] != item.stored.message.channel or item.last[1] in ("refused", "undelivered"):
        return "failed"
    return "not_delivered"


class Fallback:
    """Works on what is due; a part of the sweep."""

    def __init__(self, store: Store, ring: KeyRing, hint: Hint, wake: Callable[[str], None], now: Clock) -> None:
        """`wake`: told of the provider that has a new job."""
        self._store, self._ring, self._hint, self._wake, self._now = store, ring, hint, wake, now

    async def turn(self) -> int:
        """Goes on with the messages whose next channel is due; how many there were. Raises StoreError."""
        now_ms = self._now()
        found = await self._store.fallbacks.due(self._ring, now_ms, FALLBACK_BATCH)
        steps: list[Advance] = []
        ends: list[End] = []
        over: list[tuple[str, str]] = []
        for item in found:
            step = self._step(item, now_ms)
            if isinstance(step, Advance):
                steps.append(step)
                continue
            over.append((item.stored.message.project, item.stored.message.id))
            if step is not None:
                ends.append(step)
        if over:  # first the end: a crash between the two leaves a job that finds the message ended
            await self._store.jobs.end(ends)
            await self._store.fallbacks.stop(over)
        if steps:
            await self._store.fallbacks.advance(steps)
            for provider in {step.provider for step in steps}:
                self._wake(provider)
        return len(found)

    def _step(self, item: Pending, now_ms: int) -> Advance | End | None:
        """What follows: another channel, the end of the message, or nothing more."""
        found, message = item.stored, item.stored.message
        chain = message.chain
        if chain is None or not wanted(found, chain):
            return None
        if message.valid_until_ms is not None and message.valid_until_ms <= now_ms:
            return _end(message, "expired", _EXPIRED, now_ms)
        if not message.personal.to:
            return _end(message, "failed", _ERASED, now_ms)
        for n in range(chain.step + 1, len(chain.channels)):
            provider = self._hint(message.project, message.mode, chain.channels[n])
            if provider is not None:
                return self._advance(item, chain, n, provider, now_ms)
        return _end(message, "failed", _NO_PROVIDER, now_ms)

    def _advance(self, item: Pending, chain: Chain, n: int, provider: str, now_ms: int) -> Advance:
        message = item.stored.message
        personal = message.personal
        at = len(personal.steps) - (len(chain.channels) - n)  # those to come are the last ones
        step = personal.steps[at]
        left = msgspec.structs.replace(
            personal, to=step.to, each=step.each, sender=step.sender, content=step.content,
            steps=personal.steps[at + 1 :], past=(*personal.past, tried_now(message), *personal.steps[:at]),
        )  # fmt: skip
        why = {"from": message.channel, "to": step.channel, "reason": reason(item)}
        skipped = list(chain.channels[chain.step + 1 : n])
        after = msgspec.structs.replace(chain, step=n, tries=item.tries)
        return Advance(
            project=message.project, message=message.id, channel=step.channel,
            chain=msgspec.json.encode(after).decode(), to_hash=address_key(self._ring, step.to), key_id=self._ring.current,
            sealed=self._ring.seal(encode_personal(left), message.id), provider=provider, at_ms=now_ms,
            event=new_id("evt"), data=msgspec.json.encode(why | ({"skipped": skipped} if skipped else {})).decode(),
        )  # fmt: skip


def _end(message: Message, status: str, error: MessageError, now_ms: int) -> End | None:
    """The end of a message that was never sent; what was sent keeps its status."""
    if message.status not in _NOT_SENT:
        return None
    return End(
        project=message.project, message=message.id, status=status, at_ms=now_ms, event=new_id("evt"),
        error=msgspec.json.encode(error).decode(),
    )  # fmt: skip
