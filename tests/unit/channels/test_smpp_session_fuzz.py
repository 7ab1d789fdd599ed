"""Whatever bytes come, both ends of a session answer, ignore or close; nothing is raised into the event loop."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any, cast

import pytest

from peers.carriers import RecordingSink
from tidings.channels.contract import ProviderSpec
from tidings.channels.sms.smpp import SmppProvider
from tidings.channels.sms.smpp_config import read_config
from tidings.channels.sms.smpp_inbound import InboundReader
from tidings.channels.sms.smpp_session import SmppSession
from tidings.protocols.smpp import constants as c
from tidings.protocols.smpp.pdu import Bind, Sm, encode_bind, encode_message_id, encode_sm, pdu
from tidings.sandbox.sms import SandboxSmsc
from tidings.sandbox.smsc_session import SmscSession

ROUNDS = 5_000
CONFIG = {"host": "127.0.0.1", "system_id": "sandbox", "password": "sandbox"}
BIND = pdu(c.BIND_TRANSCEIVER, 0, 1, encode_bind(Bind(system_id="sandbox", password="sandbox")))
_RECEIPT = b"id:7 sub:001 dlvrd:001 submit date:2611240102 done date:2611240102 stat:DELIVRD err:000 text:"
_SM = Sm(source_addr=b"491701234567", destination_addr=b"12345", short_message=b"Hello")
SEEDS = [
    BIND,
    pdu(c.BIND_TRANSCEIVER | c.RESP, 0, 1, b"smsc\0\x02\x10\0\x01\x34"),
    pdu(c.SUBMIT_SM, 0, 2, encode_sm(_SM)),
    pdu(c.SUBMIT_SM_RESP, 0, 2, encode_message_id("7")),
    pdu(c.SUBMIT_SM_RESP, 0x58, 3),
    pdu(c.DELIVER_SM, 0, 4, encode_sm(_SM)),
    pdu(c.DELIVER_SM, 0, 5, encode_sm(Sm(source_addr=b"1", esm_class=4, short_message=_RECEIPT, tlvs={0x427: b"\2"}))),
    pdu(c.DELIVER_SM, 0, 6, encode_sm(Sm(source_addr=b"1", esm_class=0x40, short_message=b"\5\0\3\7\2\1x"))),
    pdu(c.DATA_SM, 0, 7, b"\0\1\1" + b"491\0\0\0" + b"1\0\0\0\0" + b"\x04\x24\0\2Hi"),
    pdu(c.ENQUIRE_LINK, 0, 8),
    pdu(c.ENQUIRE_LINK | c.RESP, 0, 8),
    pdu(c.GENERIC_NACK, 3, 9),
    pdu(c.UNBIND, 0, 10),
    pdu(c.QUERY_SM, 0, 11, b"1\0\0\0\0"),
]


class Wire:
    """A transport that goes nowhere."""

    def __init__(self) -> None:
        self.closed = False

    def write(self, data: bytes) -> None:
        assert data

    def close(self) -> None:
        self.closed = True

    abort = close

    def is_closing(self) -> bool:
        return self.closed

    def set_write_buffer_limits(self, high: int) -> None:
        assert high > 0

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


def mutated(random: Random) -> bytes:
    """A few PDUs, some of them damaged: bytes changed, cut out, put in, or the length rewritten."""
    out = bytearray()
    for seed in random.choices(SEEDS, k=random.randint(1, 4)):
        data = bytearray(seed)
        for _ in range(random.choice((0, 1, 1, 2, 5))):
            at = random.randrange(4, len(data)) if len(data) > 4 else 0
            kind = random.random()
            if kind < 0.6:
                data[at : at + 1] = bytes((random.randrange(256),))
            elif kind < 0.8:
                del data[at]
            else:
                data[at:at] = random.randbytes(random.randint(1, 4))
        if random.random() < 0.99:
            data[:4] = len(data).to_bytes(4, "big")
        out += data
    return bytes(out)


def chunks(data: bytes, random: Random) -> list[bytes]:
    """The same bytes in two reads."""
    cut = random.randint(0, len(data))
    return [piece for piece in (data[:cut], data[cut:]) if piece]


def client() -> tuple[Any, Wire]:
    provider = SmppProvider(ProviderSpec(name="acme", type="sms.smpp", config=CONFIG), RecordingSink())
    reader = InboundReader("acme", "gsm", lambda: 0)
    session = SmppSession(provider, "transceiver", read_config("acme", CONFIG), reader, lambda: 0.0)
    session.up = True
    return session, Wire()


def server() -> tuple[Any, Wire]:
    return SmscSession(SandboxSmsc()), Wire()


@pytest.mark.parametrize("make", [client, server])
@pytest.mark.parametrize("seed", range(3))
async def test_any_bytes(make: Any, seed: int) -> None:
    random = Random(seed)
    session, wire = make()
    session.connection_made(cast("asyncio.Transport", wire))
    survived = 0
    for _ in range(ROUNDS):
        for piece in chunks(mutated(random), random):
            session.data_received(piece)
            if wire.closed:
                break
        survived += not wire.closed
        if wire.closed or random.random() < 0.1:
            session.connection_lost(None)
            session, wire = make()
            session.connection_made(cast("asyncio.Transport", wire))
            if make is server and random.random() < 0.95:
                session.data_received(BIND)
    session.connection_lost(None)
    assert survived > ROUNDS / 10, "nearly everything ended the session: the fuzzer reaches nothing"
