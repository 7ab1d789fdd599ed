"""Rows with sealed personal data, and what they are when opened. The columns are the same in every dialect."""

from typing import Any, cast

import msgspec

from tidings.domain.message import LANES, Chain, Message, Mode, OnUnknown, Personal
from tidings.domain.view import StoredMessage
from tidings.kit.secrets import KeyRing, NotSealed

_decode_personal = msgspec.json.Decoder(Personal).decode
_decode_chain = msgspec.json.Decoder(Chain).decode
encode_personal = msgspec.json.Encoder().encode

COLUMNS = (
    "m.project, m.id, m.mode, m.channel, m.lane, m.status, m.created_ms, m.due_ms, m.valid_until_ms, m.sequence,"
    " m.on_unknown, m.template, m.locale, m.reference, m.tags, m.retry_of, m.provider, m.encoding, m.parts, m.error,"
    " m.sent_ms, m.delivered_ms, m.ended_ms, m.read_ms, m.replied_ms, m.unsubscribed_ms, p.key_id, p.sealed,"
    " m.chain, m.clicked_ms, m.complained_ms"
)
JOIN = "left join personal p on p.project = m.project and p.owner = m.id"
#: What stands where a person was erased.
ERASED = Personal(to="")

Row = tuple[Any, ...]


def personal(ring: KeyRing, owner: str, key_id: str | None, sealed: str | None) -> Personal:
    """The personal row of `owner`, or ERASED where it is gone or its key is."""
    if sealed is None or key_id is None:
        return ERASED
    try:
        return _decode_personal(ring.unseal(sealed, owner, key_id))
    except (NotSealed, KeyError):
        return ERASED


def stored(ring: KeyRing, row: Row) -> StoredMessage:
    """A StoredMessage from a row of COLUMNS."""
    message = Message(
        project=row[0],
        id=row[1],
        mode=cast(Mode, row[2]),
        channel=row[3],
        lane=LANES[int(row[4])],
        status=row[5],
        created_ms=row[6],
        due_ms=row[7],
        valid_until_ms=row[8],
        sequence=row[9],
        on_unknown=cast(OnUnknown, row[10]),
        template=row[11],
        locale=row[12],
        reference=row[13],
        tags=msgspec.json.decode(row[14], type=tuple[str, ...]) if row[14] else (),
        retry_of=row[15],
        chain=_decode_chain(row[28]) if row[28] else None,
        personal=personal(ring, row[1], row[26], row[27]),
    )
    return StoredMessage(
        message=message,
        provider=row[16],
        encoding=row[17],
        parts=row[18],
        error=msgspec.json.decode(row[19]) if row[19] else None,
        sent_ms=row[20],
        delivered_ms=row[21],
        ended_ms=row[22],
        read_ms=row[23],
        replied_ms=row[24],
        unsubscribed_ms=row[25],
        clicked_ms=row[29],
        complained_ms=row[30],
    )
