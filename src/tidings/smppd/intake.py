"""Requests of bound sessions, answered. What one read of a connection brought is ONE accept: answered after its commit."""

import logging
from typing import Final

from tidings.delivery.accept import Acceptor, Idempotency, Want
from tidings.delivery.control import Control
from tidings.domain.errors import Conflict, NotFound, RequestError, StoreError
from tidings.domain.message import Mode
from tidings.kit.clock import Clock
from tidings.kit.secrets import KeyRing, digest
from tidings.protocols.smpp import constants as c
from tidings.protocols.smpp.constants import MessageState, Status
from tidings.protocols.smpp.pdu import (
    QueryAnswer,
    SmppDecodeError,
    decode_data_sm,
    decode_query_sm,
    decode_sm,
    encode_message_id,
    encode_query_resp,
)
from tidings.smppd import address, ids
from tidings.smppd.account import Account
from tidings.smppd.errors import status_of
from tidings.smppd.operations import decode_cancel_sm, query_answer
from tidings.smppd.parts import Parts
from tidings.smppd.submit import Origin, Piece, Reader, SubmitError, request_of
from tidings.store.customers import GIVEN_UP, WAITING, Customers

_log = logging.getLogger(__name__)
Request = tuple[int, int, bytes]  # command_id, sequence_number, body
Answer = tuple[int, bytes]  # command_status, body
_OK: Final = 0


class Intake:
    """One for all sessions."""

    def __init__(
        self, acceptor: Acceptor, control: Control, customers: Customers, ring: KeyRing, reader: Reader, now: Clock
    ) -> None:
        self._acceptor, self._control, self._customers = acceptor, control, customers
        self._reader, self._now = reader, now
        self.parts = Parts(customers, ring, reader, self.accept_whole)

    async def answer(self, account: Account, batch: list[Request]) -> list[Answer]:
        """An answer for each, in order. Those with ESME_ROK are durable."""
        answers: list[Answer | None] = [None] * len(batch)
        singles: list[tuple[int, Piece]] = []
        pieces: list[tuple[int, Piece]] = []
        for n, (command, _, body) in enumerate(batch):
            if command not in (c.SUBMIT_SM, c.DATA_SM):
                continue
            try:
                piece = self._read(account, command, body)
            except (SubmitError, SmppDecodeError) as error:
                _log.debug("%s refused: %s", account.id, error)
                answers[n] = (error.status, b"")
                continue
            (singles if piece.concat is None else pieces).append((n, piece))
        for n, answer in zip([n for n, _ in singles], await self._accept(account, singles), strict=True):
            answers[n] = answer
        for n, answer in zip([n for n, _ in pieces], await self._keep(account, pieces), strict=True):
            answers[n] = answer
        return [await self._ask(account, *batch[n]) if answer is None else answer for n, answer in enumerate(answers)]

    def _read(self, account: Account, command: int, body: bytes) -> Piece:
        if not account.rate.take():
            raise SubmitError(Status.ESME_RTHROTTLED, "over the rate of the key")
        sm = decode_sm(body) if command == c.SUBMIT_SM else decode_data_sm(body)
        return self._reader.read(sm, self._now())

    async def _accept(self, account: Account, singles: list[tuple[int, Piece]]) -> list[Answer]:
        wants: list[Want] = []
        for _, piece in singles:
            origin = Origin(account=account.id, receipts=piece.receipts, user_ref=piece.user_ref)
            wants.append(Want(request_of(piece, origin)))
        if not wants:
            return []
        try:
            accepted = await self._acceptor.accept(account.project, account.mode, wants)
        except (RequestError, StoreError) as error:
            return [(status_of(error), b"")] * len(wants)
        return [
            (status_of(one), b"") if isinstance(one, RequestError) else (_OK, encode_message_id(ids.shown(one.id)))
            for one in accepted
        ]

    async def _keep(self, account: Account, pieces: list[tuple[int, Piece]]) -> list[Answer]:
        """Parts are durable when they are answered; that their message is accepted is our affair from then on."""
        if not pieces:
            return []
        try:
            kept = await self.parts.keep(account, [piece for _, piece in pieces], self._now())
        except StoreError as error:
            return [(status_of(error), b"")] * len(pieces)
        return [(_OK, encode_message_id(ids.shown(id))) for id in kept]

    async def accept_whole(self, project: str, mode: Mode, piece: Piece, origin: Origin, whole: str) -> str:
        """The id of the message; the same one however often it is called for the same `whole`. Raises RequestError, StoreError."""
        mark = digest(f"smpp parts {whole}")
        want = Want(request_of(piece, origin), Idempotency(mark, mark))
        answer = (await self._acceptor.accept(project, mode, [want]))[0]
        if isinstance(answer, RequestError):
            raise answer
        return answer.id

    # -- query_sm, cancel_sm

    async def _ask(self, account: Account, command: int, _sequence: int, body: bytes) -> Answer:
        failed = Status.ESME_RQUERYFAIL if command == c.QUERY_SM else Status.ESME_RCANCELFAIL
        try:
            if command == c.QUERY_SM:
                return await self._query(account, body)
            return await self._cancel(account, body)
        except SmppDecodeError as error:
            return error.status, b""
        except NotFound:
            return int(Status.ESME_RINVMSGID), b""
        except (Conflict, RequestError):
            return int(failed), b""
        except StoreError as error:
            return status_of(error), b""

    async def _query(self, account: Account, body: bytes) -> Answer:
        if not account.reads:
            return int(Status.ESME_RQUERYFAIL), b""
        asked = decode_query_sm(body)
        message = await self._message(account, asked.message_id)
        if message in (WAITING, GIVEN_UP):  # a part without its message
            state = MessageState.ENROUTE if message == WAITING else MessageState.REJECTED
            return _OK, encode_query_resp(QueryAnswer(asked.message_id, "", state, 0))
        found = await self._control.get(account.project, message)
        source = asked.source_addr.encode("latin-1")
        _same_sender(asked.source_addr_ton, asked.source_addr_npi, source, found.message.personal.sender)
        return _OK, encode_query_resp(query_answer(asked.message_id, found))

    async def _cancel(self, account: Account, body: bytes) -> Answer:
        asked = decode_cancel_sm(body)
        if not asked.message_id:  # every message from one address to another: we keep addresses sealed
            return int(Status.ESME_RCANCELFAIL), b""
        await self._control.cancel(account.project, await self._message(account, asked.message_id))
        return _OK, b""

    async def _message(self, account: Account, message_id: str) -> str:
        digits = ids.read(message_id)
        if digits is None:
            raise NotFound("no id of ours")
        message = await self._customers.message_of(account.project, f"prt_{digits}")
        return f"msg_{digits}" if message is None else message


def _same_sender(ton: int, npi: int, source: bytes, sender: str | None) -> None:
    """A query names the source address of its message. Source: SMPP 3.4 §4.8.1"""
    try:
        given = address.sender(ton, npi, source)
    except address.AddressError as error:
        raise SmppDecodeError("source_addr", "is none of ours", error.status) from error
    if given is not None and (given or "").lstrip("+") != (sender or "").lstrip("+"):
        raise SmppDecodeError("source_addr", "is not that of the message", Status.ESME_RINVSRCADR)
