"""Mutated PDUs through framer, decoders and receipts: only the typed errors. 100,000 in `make test`, a million in `make fuzz`."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import random

import pytest

from tidings.protocols.smpp import concat, constants, pdu, receipt, times
from tidings.protocols.smpp.pdu import Sm

COUNT = 1_000_000 if os.environ.get("TIDINGS_CAMPAIGN") == "1" else 100_000
SEED = int(os.environ.get("TIDINGS_SEED", "20261124"))


def corpus() -> list[bytes]:
    sm = Sm(source_addr=b"ACME", destination_addr=b"491701234567", short_message=b"hello", registered_delivery=1)
    text = b"id:1 sub:001 dlvrd:001 submit date:2611240102 done date:2611240103 stat:DELIVRD err:000 text:x"
    tlvs = {constants.Tag.RECEIPTED_MESSAGE_ID: b"1\0", constants.Tag.MESSAGE_STATE: b"\2"}
    dlr = Sm(source_addr=b"4917", destination_addr=b"ACME", esm_class=4, short_message=text, tlvs=tlvs)
    udh = Sm(source_addr=b"1", destination_addr=b"2", esm_class=0x40, short_message=bytes((5, 0, 3, 1, 2, 1)) + b"part")
    return [
        pdu.pdu(constants.SUBMIT_SM, 0, 1, pdu.encode_sm(sm)),
        pdu.pdu(constants.DELIVER_SM, 0, 2, pdu.encode_sm(dlr)),
        pdu.pdu(constants.DELIVER_SM, 0, 3, pdu.encode_sm(udh)),
        pdu.pdu(constants.BIND_TRANSCEIVER, 0, 4, pdu.encode_bind(pdu.Bind(system_id="me", password="secret"))),
        pdu.pdu(constants.SUBMIT_SM_RESP, 0, 5, b"abc\0"),
        pdu.pdu(constants.BIND_TRANSCEIVER | constants.RESP, 0, 6, b"smsc\0\x02\x10\0\1\x34"),
        pdu.pdu(constants.QUERY_SM | constants.RESP, 0, 7, b"abc\x00261124010203000+\0\2\0"),
    ]


def mutate(rng: random.Random, data: bytes) -> bytes:
    raw = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        kind, at = rng.randrange(4), rng.randrange(len(raw)) if raw else 0
        if kind == 0 and raw:
            raw[at] = rng.randrange(256)
        elif kind == 1:
            del raw[at : at + rng.randint(1, 8)]
        elif kind == 2:
            raw[at:at] = rng.randbytes(rng.randint(1, 8))
        else:
            del raw[at:]
    return bytes(raw)


def read_time(text: str) -> None:
    with contextlib.suppress(times.SmppTimeError):
        times.parse(text, dt.datetime(2026, 11, 24, tzinfo=dt.UTC))


def digest(data: bytes) -> None:
    """What a session does with bytes from the wire."""
    for command, status, _, body in pdu.Framer().feed(data):
        if command in constants.BINDS:
            pdu.decode_bind(body)
        elif command == constants.SUBMIT_SM_RESP:
            pdu.decode_submit_resp(status, body)
        elif command == constants.BIND_TRANSCEIVER | constants.RESP:
            pdu.decode_bind_resp(body)
        elif command == constants.QUERY_SM | constants.RESP:
            read_time(pdu.decode_query_resp(body)[1])
        else:
            sm = pdu.decode_data_sm(body) if command == constants.DATA_SM else pdu.decode_sm(body)
            found = receipt.parse_receipt(sm)
            if found is not None:
                receipt.id_candidates(found.message_id)
            _, user_data = concat.concat_of(sm)
            concat.decode_text(user_data, sm.data_coding)


def campaign(count: int) -> int:
    """How many inputs were read without an error; raises at the first error that is not of the codec's."""
    rng, seeds, good = random.Random(SEED), corpus(), 0
    for _ in range(count):
        raw = mutate(rng, rng.choice(seeds))
        if len(raw) >= 4 and rng.random() < 0.8:
            raw = len(raw).to_bytes(4, "big") + raw[4:]  # else most would only be waiting for more
        try:
            digest(raw)
            good += 1
        except pdu.SmppError:
            pass
    return good


@pytest.mark.timeout(0 if COUNT > 100_000 else 100)
def test_only_typed_errors() -> None:
    good = campaign(COUNT)
    print(f"\nfuzz: seed={SEED} mutated PDUs={COUNT} read={good} refused={COUNT - good} other errors=0")
    assert 0 < good < COUNT


def test_the_fuzzer_would_notice(monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(body: bytes) -> Sm:
        return Sm(source_addr_ton=body[1], short_message=body[body[40] :])

    monkeypatch.setattr(pdu, "decode_sm", careless)
    with pytest.raises(IndexError):
        campaign(2_000)
