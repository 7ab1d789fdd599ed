"""What comes back from carriers: receipts and inbound messages, stored before the carrier is told that we have them."""

from collections.abc import Sequence
from typing import Final

import msgspec

from tidings.domain.address import address_key
from tidings.domain.attempt import CarrierReceipt, InboundPart
from tidings.domain.message import Personal
from tidings.domain.sms import SmsContent
from tidings.kit.ids import new_id
from tidings.kit.secrets import KeyRing, digest
from tidings.store.contract import InboundPartRow, InboundRow, ReceiptRow
from tidings.store.sealed import encode_personal, personal
from tidings.store.store import Store

#: Words that end or renew consent, when they are the whole message. Source: CTIA Messaging Principles (2023) §5.1.3
STOP_WORDS: Final = frozenset({"stop", "stopall", "unsubscribe", "cancel", "end", "quit", "stop all"})
START_WORDS: Final = frozenset({"start", "unstop"})


class Receiver:
    """Turns what carriers say into rows and events."""

    def __init__(self, store: Store, ring: KeyRing) -> None:
        self._store, self._ring = store, ring

    async def received(self, project: str, receipts: Sequence[CarrierReceipt], inbound: Sequence[InboundPart]) -> None:
        """Returns after the commit. `project` owns the provider; empty: found from what the person was sent last."""
        if receipts:
            await self._store.receipts.receive([self._receipt(item) for item in receipts])
        whole = [self._whole(project, part) for part in inbound if part.total == 1]
        await self._store.inbound.receive(whole)
        parts = [self._part(part) for part in inbound if part.total > 1]
        for row, found in zip(parts, await self._store.inbound.keep_parts(parts), strict=True):
            if found:
                await self._join(project, row, found)

    async def flush_stale(self, before_ms: int) -> int:
        """Hands on incomplete messages whose first part came before `before_ms`, as partial."""
        keys = await self._store.inbound.stale_parts(before_ms)
        for key in keys:
            found = await self._store.inbound.parts_of(key)
            row = InboundPartRow(key[0], key[1], key[2], key[3], key[4], 0, "", "", before_ms)
            if found:
                await self._join("", row, found)
        return len(keys)

    def _receipt(self, item: CarrierReceipt) -> ReceiptRow:
        return ReceiptRow(
            provider=item.provider,
            refs=item.refs,
            to_hash=address_key(self._ring, item.to) if item.to else None,
            sender=item.sender,
            state=item.state,
            carrier_state=item.carrier_state,
            error_code=item.error_code,
            user_ref=item.user_ref,
            submit_at_ms=item.submit_at_ms,
            received_ms=item.received_ms,
            event=new_id("evt"),
            engagement=item.engagement or ("read" if item.carrier_state == "read" else None),
            suppress=item.suppress,
            error=None if item.error is None else msgspec.json.encode(item.error).decode(),
            ended_hash=address_key(self._ring, item.ended_at) if item.ended_at else None,
        )

    def _part(self, part: InboundPart) -> InboundPartRow:
        owner = f"{part.provider}:{part.concat_ref}:{part.part}"
        sealed = self._ring.seal(encode_personal(_personal(part)), owner)
        return InboundPartRow(
            part.provider, address_key(self._ring, part.sender), address_key(self._ring, part.to),
            part.concat_ref or 0, part.total, part.part, self._ring.current, sealed, part.received_ms,
            digest(f"{part.provider}|{part.dedup}") if part.dedup else "",
        )  # fmt: skip

    async def _join(self, project: str, row: InboundPartRow, found: list[tuple[object, ...]]) -> None:
        pieces = [
            personal(self._ring, f"{row.provider}:{row.ref}:{part[0]}", str(part[1]), str(part[2])) for part in found
        ]
        item = self._row(
            project, row.provider, _joined(pieces), row.received_ms, row.total, row.total - len(found),
            of=(row.provider, row.from_hash, row.to_hash, row.ref, row.total),
        )  # fmt: skip
        await self._store.inbound.receive([item])

    def _whole(self, project: str, part: InboundPart) -> InboundRow:
        dedup = digest(f"{part.provider}|{part.dedup}") if part.dedup else new_id("ddp")
        row = self._row(project, part.provider, _personal(part), part.received_ms, 1, 0, dedup=dedup, word=part.word)
        if part.channel == "sms" and not part.answers:
            return row
        return msgspec.structs.replace(row, channel=part.channel, answers=part.answers, wrote_ms=part.wrote_ms)

    def _row(
        self, project: str, provider: str, what: Personal, received_ms: int, parts: int, missing: int, *,
        dedup: str = "", of: tuple[str, str, str, int, int] | None = None, word: str | None = None,
    ) -> InboundRow:  # fmt: skip
        owner = new_id("msg")
        said = " ".join((what.text or "").split()).strip(".! ").lower()
        stop = word or ("stop" if said in STOP_WORDS else "start" if said in START_WORDS else None)
        return InboundRow(
            id=owner,
            provider=provider,
            provider_project=project,
            from_hash=address_key(self._ring, what.sender or ""),
            to_hash=address_key(self._ring, what.to),
            parts=parts,
            missing=missing,
            received_ms=received_ms,
            key_id=self._ring.current,
            sealed=self._ring.seal(encode_personal(what), owner),
            stop=stop,
            dedup=dedup,
            events=(new_id("evt"), new_id("evt"), new_id("evt")),
            of=of,
        )


def _personal(part: InboundPart) -> Personal:
    if part.content is not None:
        content = msgspec.to_builtins(part.content)
        return Personal(to=part.to, sender=part.sender, text=part.text or None, content=content or None)
    if part.data is None:
        return Personal(to=part.to, sender=part.sender, text=part.text)
    destination, source = part.ports or (None, None)
    content = SmsContent(data=part.data.hex(), destination_port=destination, source_port=source)
    return Personal(to=part.to, sender=part.sender, content=msgspec.to_builtins(content))


def _joined(pieces: list[Personal]) -> Personal:
    """Parts in order as one: octets where the first part holds octets, with its ports."""
    first = pieces[0]
    if first.content is None:
        return Personal(to=first.to, sender=first.sender, text="".join(piece.text or "" for piece in pieces))
    data = "".join((piece.content or {}).get("data", "") for piece in pieces)
    return Personal(to=first.to, sender=first.sender, content=first.content | {"data": data})
