"""Mutated PDUs through framer, decoders and receipts: only the typed errors. 100,000 in `make test`, a million in `make fuzz`."""

from __future__ import annotations

import os
import random
from collections import Counter

import pytest

from fuzz.pdus import corpus, digest
from tidings.protocols.smpp import pdu
from tidings.protocols.smpp.pdu import Sm

COUNT = 1_000_000 if os.environ.get("TIDINGS_CAMPAIGN") == "1" else 100_000
SEED = int(os.environ.get("TIDINGS_SEED", "20261124"))


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


@pytest.mark.timeout(0 if COUNT > 100_000 else 400)
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
