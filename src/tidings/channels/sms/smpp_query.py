"""query_sm: asks the carrier what became of a part whose receipt did not come. Source: SMPP 3.4 §4.8"""

import asyncio
import datetime as dt
from collections.abc import Sequence
from typing import Final, Protocol

from tidings.channels.sms.smpp_config import Config
from tidings.channels.sms.smpp_submit import SubmitWriter
from tidings.domain.attempt import CarrierReceipt, ReceiptState
from tidings.kit.clock import Clock
from tidings.protocols.smpp import times
from tidings.protocols.smpp.pdu import QueryAnswer, SmppError, decode_query_resp, encode_query_sm
from tidings.protocols.smpp.receipt import id_candidates, state_of

#: Queries on the wire at once: few, for they share the carrier's window with messages.
AT_ONCE: Final = 4
_STATES: Final[dict[str, ReceiptState]] = {
    "delivered": "delivered", "expired": "undelivered", "deleted": "undelivered", "undeliverable": "undelivered",
    "rejected": "undelivered", "skipped": "undelivered",
}  # fmt: skip


class Line(Protocol):
    """A bound session that may send."""

    async def query(self, body: bytes, timeout_s: float) -> tuple[int, bytes] | None:
        """See `SmppSession.query`."""
        ...


class IdStyle:
    """How this carrier writes its ids. We keep them in lower case without leading zeros; it wants its own spelling."""

    def __init__(self) -> None:
        self._width = 0
        self._upper = False

    def saw(self, message_id: str) -> None:
        """Learns from an id of a submit_sm_resp."""
        if message_id.startswith("0"):
            self._width = len(message_id)
        self._upper = self._upper or message_id != message_id.lower()

    def spellings(self, ref: str) -> tuple[str, ...]:
        """The ids to ask for, the likeliest first."""
        padded = ref.zfill(self._width)
        likely = padded.upper() if self._upper else padded
        return tuple(dict.fromkeys((likely, ref, ref.upper())))


class Inquiries:
    """Asks, a few at a time, over whatever session is up."""

    def __init__(self, provider: str, config: Config, writer: SubmitWriter, clock: Clock) -> None:
        self._provider, self._config, self._writer, self._clock = provider, config, writer, clock
        self._places = asyncio.Semaphore(AT_ONCE)
        self.style = IdStyle()

    async def ask(self, lines: Sequence[Line], ref: str, sender: str | None, to: str | None) -> CarrierReceipt | None:
        """What the carrier says of the part it took as `ref`; None if nobody answers or it does not know it."""
        ton, npi, source = self._writer.source_of(sender)
        async with self._places:
            for message_id in self.style.spellings(ref):
                if not lines:
                    return None
                try:
                    body = encode_query_sm(message_id, ton, npi, source)
                except SmppError:
                    return None  # an id or a sender that no query_sm can hold
                reply = await lines[0].query(body, self._config.response_timeout_s)
                if reply is None:
                    return None
                if reply[0] == 0:
                    return self._receipt(reply[1], ref, sender, to)
        return None

    def _receipt(self, body: bytes, ref: str, sender: str | None, to: str | None) -> CarrierReceipt | None:
        try:
            answer = decode_query_resp(body)
        except SmppError:
            return None
        now_ms, word = self._clock(), state_of(answer.message_state)
        return CarrierReceipt(
            provider=self._provider,
            refs=id_candidates(ref),
            to=to,
            sender=sender,
            state=_STATES.get(word, "pending"),  # a state that the carrier does not know ends nothing
            carrier_state=word,
            error_code=str(answer.error_code) if answer.error_code else None,
            done_at_ms=_final_ms(answer, now_ms),
            received_ms=now_ms,
        )


def _final_ms(answer: QueryAnswer, now_ms: int) -> int | None:
    try:
        when = times.parse(answer.final_date, dt.datetime.fromtimestamp(now_ms / 1000, dt.UTC))
    except times.SmppTimeError:
        return None
    return int(when.timestamp() * 1000)
