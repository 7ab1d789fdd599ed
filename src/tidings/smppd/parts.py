"""Parts of long messages: kept durably, put together when the last one is there, then accepted as one message.

A part is answered once it is stored, since a client with a window of one sends the next only after that. From then on
the message is promised: a whole that was not accepted at once is accepted by the sweep, under the same idempotency
record, so never twice; one that is not complete after PARTS_WAIT_S is sent as far as it came.
"""

import logging
from collections.abc import Awaitable, Callable

import msgspec

from tidings.domain.errors import RequestError, StoreError
from tidings.domain.message import Mode
from tidings.kit.ids import new_id
from tidings.kit.secrets import KeyRing, digest
from tidings.smppd.account import Account
from tidings.smppd.config import PARTS_GIVE_UP_S, PARTS_KEPT_S, PARTS_WAIT_S
from tidings.smppd.submit import Origin, Piece, Reader
from tidings.store.customers import GIVEN_UP, Customers, PartRow, StoredPart

_log = logging.getLogger(__name__)
_SWEEP_WHOLES = 200
_encode = msgspec.json.Encoder().encode
#: (project, mode, the whole, its origin, its name) → the id of the message
Accept = Callable[[str, Mode, Piece, Origin, str], Awaitable[str]]


class Sealed(msgspec.Struct, frozen=True):
    """What is stored of a part. Only a whole says whose mode it is; every part knows."""

    mode: Mode
    piece: Piece


_decode = msgspec.json.Decoder(Sealed).decode


class Parts:
    """One for all sessions of the process."""

    def __init__(self, customers: Customers, ring: KeyRing, reader: Reader, accept: Accept) -> None:
        self._customers, self._ring, self._reader, self._accept = customers, ring, reader, accept

    async def keep(self, account: Account, pieces: list[Piece], now_ms: int) -> list[str]:
        """The id of each part, durable. Raises StoreError: then nothing was kept."""
        kept = await self._customers.keep_parts([self._row(account, piece, now_ms) for piece in pieces])
        for part in kept:
            for whole in (part.cut, part.whole):
                if whole is not None:
                    await self.send(whole, now_ms)
        return [part.id for part in kept]

    async def sweep(self, now_ms: int) -> None:
        """Sends what is complete, or will not be completed any more. Raises StoreError."""
        for whole in await self._customers.unsent(now_ms - PARTS_WAIT_S * 1000, _SWEEP_WHOLES):
            await self._customers.close([whole])
            await self.send(whole, now_ms)
        await self._customers.purge(now_ms - PARTS_KEPT_S * 1000)

    async def send(self, whole: str, now_ms: int) -> None:
        """Accepts the message, or leaves it to the next sweep."""
        rows: list[StoredPart] = []
        try:
            rows = await self._customers.parts_of(whole)
            if not rows or not rows[0].sealed:
                return
            opened = [_decode(self._ring.unseal(row.sealed, row.id, row.key_id)) for row in rows]
            piece = self._reader.join([one.piece for one in opened])
            asked = [row.id for row, one in zip(rows, opened, strict=True) if one.piece.receipts != "none"]
            origin = Origin(account=rows[0].key, receipts=piece.receipts, ids=tuple(asked), user_ref=piece.user_ref)
            message = await self._accept(rows[0].project, opened[0].mode, piece, origin, whole)
            await self._customers.sent(whole, message)
        except RequestError as error:
            await self._refused(whole, rows, error, now_ms)
        except StoreError as error:
            _log.warning("the message of parts %s waits: %s", whole, error)

    async def _refused(self, whole: str, rows: list[StoredPart], error: RequestError, now_ms: int) -> None:
        if now_ms - rows[0].received_ms < PARTS_GIVE_UP_S * 1000:
            _log.warning("the message of parts %s is not accepted yet: %s", whole, error.code)
            return
        _log.error("the message of parts %s is given up: %s", whole, error.code)
        await self._customers.sent(whole, GIVEN_UP)

    def _row(self, account: Account, piece: Piece, now_ms: int) -> PartRow:
        assert piece.concat is not None
        id, plain = new_id("prt"), _encode(Sealed(account.mode, piece))
        concat = piece.concat
        # a time in the part is relative to when it came: the same part sent again has another one
        same = msgspec.structs.replace(piece, send_at_ms=None, valid_until_ms=None)
        return PartRow(
            project=account.project,
            id=id,
            key=account.id,
            grp=self._ring.lookup(f"{piece.to} {piece.sender} {concat.ref} {concat.total}"),
            total=concat.total,
            part=concat.part,
            content=self._ring.lookup(digest(_encode(same))),
            key_id=self._ring.current,
            sealed=self._ring.seal(plain, id),
            received_ms=now_ms,
        )
