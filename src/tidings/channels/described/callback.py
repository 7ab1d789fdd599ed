"""What an aggregator calls us with, by the `callbacks` table: verified first, then read."""

from collections.abc import Iterator
from typing import Final, cast

from tidings.channels.callback import CallbackReply, Called, NotGenuine, RawRequest, Taken, Unreadable, read_form
from tidings.channels.described.compile import Refuse
from tidings.channels.described.config import Callbacks, Config, Inbound, Receipts, State
from tidings.channels.described.number import e164
from tidings.channels.described.pick import Pick, Said, at
from tidings.channels.described.verify import Verifier
from tidings.domain.attempt import CarrierReceipt, Engagement, InboundPart, ReceiptState

#: More in one call than any aggregator sends.
MOST_ITEMS: Final = 1_000
_STATES: Final[dict[State, ReceiptState]] = {
    "delivered": "delivered", "read": "delivered", "clicked": "delivered", "pending": "pending",
    "complained": "pending", "unsubscribed": "pending",
}  # fmt: skip
_ENGAGED: Final[dict[State, Engagement]] = {
    "read": "read", "clicked": "clicked", "complained": "complained", "unsubscribed": "unsubscribed",
}  # fmt: skip
_SUPPRESSED: Final = frozenset({"bounced", "complained", "unsubscribed"})
_FORM: Final = "application/x-www-form-urlencoded"


class CallbackReader:
    """Compiled once; `take` is pure."""

    def __init__(self, name: str, config: Config, callbacks: Callbacks, channel: str = "sms") -> None:
        """Raises `SettingsError` with the pointer of what cannot be used."""
        refuse = Refuse(name)
        self._name, self._channel = name, channel
        self._verifier = Verifier(name, config, callbacks.verify)
        self._receipts = callbacks.receipts
        self._inbound = callbacks.inbound
        if callbacks.receipts is None and callbacks.inbound is None:
            raise refuse.error("/callbacks", "needs `receipts` or `inbound`")
        if not 200 <= callbacks.reply_status <= 299:
            raise refuse.error("/callbacks/reply_status", "must be 200 to 299: the carrier is told that we have it")
        self._of_receipt = _picks(refuse, "/callbacks/receipts", callbacks.receipts)
        self._of_inbound = _picks(refuse, "/callbacks/inbound", callbacks.inbound)
        self._reply = CallbackReply(
            status=callbacks.reply_status, body=callbacks.reply_body.encode(), media=callbacks.reply_type
        )

    def take(self, request: RawRequest) -> Called:
        """Verifies, then reads. Receipts are what has an id and a status; messages what has a sender and a text."""
        try:
            said = _said(request)
        except (ValueError, RecursionError):
            return NotGenuine("the form or the query cannot be read")
        doubt = self._verifier.doubt(request, said)
        if doubt is not None:
            return NotGenuine(doubt)
        receipts: list[CarrierReceipt] = []
        if self._receipts is not None:
            for item in _each(said, self._receipts.each):
                receipt = self._receipt(item, self._receipts, request.received_ms)
                if receipt is not None:
                    receipts.append(receipt)
        inbound: list[InboundPart] = []
        if self._inbound is not None and not receipts:
            for item in _each(said, self._inbound.each):
                part = self._part(item, request.received_ms)
                if part is not None:
                    inbound.append(part)
        if not receipts and not inbound:
            return Unreadable("neither a receipt nor a message was found where the configuration looks")
        return Taken(receipts=tuple(receipts), inbound=tuple(inbound), reply=self._reply)

    def _receipt(self, said: Said, table: Receipts, now_ms: int) -> CarrierReceipt | None:
        found = {name: pick.of(said) for name, pick in self._of_receipt.items()}
        ref, word = found.get("id"), found.get("status")
        if not ref or len(ref) > 256 or not word:
            return None
        state = table.states.get(word)
        own = found.get("ref") or ""
        return CarrierReceipt(
            provider=self._name,
            refs=(ref,),
            to=e164(found.get("to")),
            sender=e164(found.get("sender")),
            state="pending" if state is None else _STATES.get(state, "undelivered"),
            carrier_state=(state or word.lower())[:64],
            engagement=None if state is None else _ENGAGED.get(state),
            suppress=state if state in _SUPPRESSED else None,
            error_code=(found.get("error") or "")[:64] or None,
            user_ref=int(own) if own.isascii() and own.isdigit() and len(own) <= 5 else None,
            received_ms=now_ms,
        )

    def _part(self, said: Said, now_ms: int) -> InboundPart | None:
        found = {name: pick.of(said) for name, pick in self._of_inbound.items()}
        sender, text, ref = e164(found.get("sender")), found.get("text"), found.get("id")
        if not sender or text is None or not ref:
            return None
        concat = _concat(found)
        return InboundPart(
            provider=self._name,
            sender=sender,
            to=e164(found.get("to")) or "",
            text=text,
            concat_ref=concat[0] if concat else None,
            total=concat[1] if concat else 1,
            part=concat[2] if concat else 1,
            dedup=ref[:256],
            received_ms=now_ms,
            channel=self._channel,
        )


def _picks(refuse: Refuse, pointer: str, table: Receipts | Inbound | None) -> dict[str, Pick]:
    found: dict[str, Pick] = {}
    if table is None:
        return found
    if table.each is not None and table.each and not table.each.startswith("/"):
        raise refuse.error(f"{pointer}/each", "must be a JSON pointer to an array, or empty for the body itself")
    for name in table.__struct_fields__:
        text = getattr(table, name)
        if name in ("each", "states") or not text:
            continue
        pick = refuse.pick(f"{pointer}/{name}", text)
        if pick is not None:
            found[name] = pick
    return found


def _said(request: RawRequest) -> Said:
    media = request.headers.get("content-type", "").split(";")[0].strip().lower()
    fields = dict(read_form(request.body.decode())) if media == _FORM and request.method != "GET" else {}
    return Said(request.body, request.headers, fields, dict(request.query_fields()))


def _each(said: Said, pointer: str | None) -> Iterator[Said]:
    """The body, or every item of the array that it holds."""
    if pointer is None:
        yield said
        return
    items = at(said.json, pointer)
    for item in cast("list[object]", items)[:MOST_ITEMS] if isinstance(items, list) else []:
        yield said.item(item)


def _concat(found: dict[str, str | None]) -> tuple[int, int, int] | None:
    """(reference, total, part) of one part of a longer message."""
    texts = [found.get(f"concat_{name}") or "" for name in ("ref", "total", "part")]
    if not all(text.isascii() and text.isdigit() and len(text) <= 9 for text in texts):
        return None
    ref, total, part = (int(text) for text in texts)
    return (ref, total, part) if 1 < total <= 255 and 1 <= part <= total else None
