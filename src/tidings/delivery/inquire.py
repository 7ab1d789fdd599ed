"""Asks carriers what became of parts whose receipt never came, where they can be asked (`Capabilities.query`)."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import cast

from tidings.channels.contract import Inquirer
from tidings.delivery.fleet import Fleet
from tidings.domain.attempt import CarrierReceipt, InboundPart
from tidings.store.store import Store

#: `Sink.received`: where an answer goes, like any receipt.
Received = Callable[[str, Sequence[CarrierReceipt], Sequence[InboundPart]], Awaitable[None]]


class Inquiry:
    """One round at a time; a question that nobody answers is not asked again: the message stays `sent`, and overdue."""

    def __init__(self, store: Store, fleet: Fleet, received: Received) -> None:
        self._store, self._fleet, self._received = store, fleet, received

    async def ask(self, messages: Sequence[tuple[str, str]]) -> int:
        """Asks for every part of these (project, message); how many carriers' answers came. Raises StoreError."""
        questions = await self._store.overdue.questions(messages)
        answers = await asyncio.gather(*(self._one(*question) for question in questions))
        return sum(answers)

    async def _one(self, provider: str, ref: str, sender: str | None) -> bool:
        member = self._fleet.member(provider)
        if member is None or not member.provider.capabilities.query:
            return False
        receipt = await cast("Inquirer", member.provider).query(ref, sender)
        if receipt is None:
            return False
        await self._received(provider, [receipt], [])
        return True
