"""Mutated PDUs through framer, decoders and receipts: only the typed errors. 100,000 in `make test`, a million in `make fuzz`."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import random
from collections import Counter

import pytest

from tidings.protocols.smpp import concat, constants, pdu, receipt, times
from tidings.protocols.smpp.pdu import Sm

MESSAGE_PAYLOAD = constants.Tag.MESSAGE_PAYLOAD
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
        pdu.pdu(
            constants.DATA_SM,
            0,
            8,
            b"\0\1\0004917\0\5\0ACME\0\4\0\0" + pdu.encode_tlvs({**tlvs, MESSAGE_PAYLOAD: text}),
        ),
        pdu.pdu(constants.BIND_TRANSCEIVER, 0, 4, pdu.encode_bind(pdu.Bind(system_id="me", password="secret"))),
        pdu.pdu(constants.SUBMIT_SM_RESP, 0, 5, b"abc\0"),
        pdu.pdu(constants.BIND_TRANSCEIVER | constants.RESP, 0, 6, b"smsc\0\x02\x10\0\1\x34"),
        pdu.pdu(constants.QUERY_SM | constants.RESP, 0, 7, b"abc\x00261124010203000+\0\2\0"),
    ]


def mutate(rng: random.Random, data: bytes) -> bytes:
    raw = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        kind, at = rng.randrange(8), rng.randrange(len(raw)) if raw else 0
        if kind < 5 and raw:
            raw[at] = rng.randrange(256)
        elif kind == 5:
            del raw[at : at + rng.randint(1, 8)]
        elif kind == 6:
            raw[at:at] = rng.randbytes(rng.randint(1, 8))
        else:
            del raw[at:]
    return bytes(raw)


def mutant(rng: random.Random, data: bytes) -> bytes:
    """Mostly a mutated body behind a true header, so that it comes through to the decoders; else mutated anywhere."""
    if rng.random() < 0.1:
        return mutate(rng, data)
    body = mutate(rng, data[pdu.HEADER_BYTES :])
    return (pdu.HEADER_BYTES + len(body)).to_bytes(4, "big") + data[4 : pdu.HEADER_BYTES] + body


def read_time(text: str) -> None:
    with contextlib.suppress(times.SmppTimeError):
        times.parse(text, dt.datetime(2026, 11, 24, tzinfo=dt.UTC))


def digest(frame: pdu.Frame) -> bool:
    """What a session does with a PDU from the wire; whether it was a receipt."""
    command, status, _, body = frame
    if command in constants.BINDS:
        pdu.decode_bind(body)
    elif command == constants.SUBMIT_SM_RESP:
        pdu.decode_submit_resp(status, body)
    elif command == constants.BIND_TRANSCEIVER | constants.RESP:
        pdu.decode_bind_resp(body)
    elif command == constants.QUERY_SM | constants.RESP:
        read_time(pdu.decode_query_resp(body)[1])
    else:
        return digest_sm(pdu.decode_data_sm(body) if command == constants.DATA_SM else pdu.decode_sm(body))
    return False


def digest_sm(sm: Sm) -> bool:
    _, user_data = concat.concat_of(sm)
    concat.decode_text(user_data, sm.data_coding)
    found = receipt.parse_receipt(sm)
    if found is not None:
        receipt.id_candidates(found.message_id)
    return found is not None


def campaign(count: int) -> Counter[str]:
    """Goes on until `count` bodies were `read` or `refused` by a decoder; what the framer alone dealt with is `unframed`
    and does not count. Raises at the first error that is not of the codec's.
    """
    rng, seeds, seen = random.Random(SEED), corpus(), Counter[str]()
    while seen["read"] + seen["refused"] < count:
        try:
            frames = pdu.Framer().feed(mutant(rng, rng.choice(seeds)))
        except pdu.SmppFrameError:
            frames = []
        if not frames:
            seen["unframed"] += 1
        for frame in frames:
            try:
                seen["receipts"] += digest(frame)
                seen["read"] += 1
            except pdu.SmppError:
                seen["refused"] += 1
    return seen


@pytest.mark.timeout(0 if COUNT > 100_000 else 100)
def test_only_typed_errors() -> None:
    seen = campaign(COUNT)
    print(f"\nfuzz: seed={SEED} mutated PDUs={COUNT} {dict(seen)} other errors=0")
    assert min(seen["read"], seen["refused"]) > COUNT // 10  # both ways are really taken
    assert seen["receipts"] > COUNT // 20


def test_the_fuzzer_would_notice(monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(body: bytes) -> Sm:
        return Sm(source_addr_ton=body[1], short_message=body[body[40] :])

    monkeypatch.setattr(pdu, "decode_sm", careless)
    with pytest.raises(IndexError):
        campaign(2_000)
