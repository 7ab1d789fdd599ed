"""The process that libFuzzer takes over: `python -m fuzz.target CORPUS… -runs=N` in tests/. Coverage guides it.

An input is a mode byte and then PDUs: in most modes each is `command, status, sequence, length, body` in six bytes and the
body, and gets a true header, so that the fuzzer spends its time behind the framer; in the others they are raw bytes. The
same PDUs go through the codec, and through three sessions: our client's, the sandbox's, and that of the SMPP server for
customers. Only the codec's own errors may come out of the codec, and none of the sessions. FUZZ_PLANT=1 plants a bug,
FUZZ_STATS names a file for the figures.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from collections import Counter

import atheris

RAW_MODES = 32  # of 256
CUT_MODES = 96  # PDUs come in two reads


with atheris.instrument_imports(
    include=["tidings.protocols", "tidings.channels.sms", "tidings.sandbox", "tidings.smppd"]
):
    from fuzz import ends, pdus
    from tidings.protocols.smpp import concat, pdu
    from tidings.protocols.smpp import constants as c

COMMANDS = (
    c.SUBMIT_SM, c.DELIVER_SM, c.DATA_SM, c.SUBMIT_SM | c.RESP, c.DELIVER_SM | c.RESP, c.DATA_SM | c.RESP, c.QUERY_SM,
    c.QUERY_SM | c.RESP, c.BIND_TRANSCEIVER, c.BIND_TRANSCEIVER | c.RESP, c.BIND_RECEIVER, c.BIND_TRANSMITTER, c.UNBIND,
    c.UNBIND | c.RESP, c.ENQUIRE_LINK, c.ENQUIRE_LINK | c.RESP, c.GENERIC_NACK, c.CANCEL_SM,
)  # fmt: skip
HEAD = 6
_counts: Counter[str] = Counter()


def encode(frames: list[tuple[int, int, int, bytes]], mode: int = RAW_MODES) -> bytes:
    """The input that `pieces` makes these PDUs of; for the corpus."""
    out = bytearray((mode,))
    for command, status, sequence, body in frames:
        at = COMMANDS.index(command) if command in COMMANDS else 0
        out += bytes((at, status & 0xFF, sequence & 0xFF, 0)) + len(body).to_bytes(2, "big") + body
    return bytes(out)


def pieces(data: bytes) -> list[bytes]:
    """What comes from the wire, read by read."""
    mode, rest = data[0], data[1:]
    if mode < RAW_MODES:
        return [rest[:at] for at in (len(rest) // 2,)] + [rest[len(rest) // 2 :]]
    out: list[bytes] = []
    while len(rest) >= HEAD and len(out) < 32:
        size = int.from_bytes(rest[4:6], "big")
        body = rest[HEAD : HEAD + size]
        status = 0 if rest[1] < 200 else rest[1] if rest[1] < 254 else 0x58  # mostly taken; sometimes throttled
        out.append(pdu.pdu(COMMANDS[rest[0] % len(COMMANDS)], status, 1 + rest[2] % 8 + (rest[3] >> 6 << 8), body))
        rest = rest[HEAD + size :]
    if mode < CUT_MODES and out:
        joined = b"".join(out)
        return [joined[: mode * 7 % len(joined)], joined[mode * 7 % len(joined) :]]
    return out


def codec(stream: list[bytes]) -> None:
    """Framer, decoders, receipts, texts: nothing but `SmppError`."""
    framer = pdu.Framer()
    for piece in stream:
        try:
            frames = framer.feed(piece)
        except pdu.SmppFrameError:
            _counts["unframed"] += 1
            return
        for frame in frames:
            _counts["pdus"] += 1
            try:
                _counts["receipts"] += pdus.digest(frame)
            except pdu.SmppError:
                _counts["refused"] += 1


_table = ends.Table()


def one_input(data: bytes) -> None:
    """What libFuzzer calls."""
    if len(data) < 2:
        return
    stream = [piece for piece in pieces(data) if piece]
    codec(stream)
    for make in ends.MAKERS:
        _table.run(list(stream), make)
    _counts["inputs"] += 1
    if _counts["inputs"] % 500 == 0:
        report()


def report() -> None:
    """The figures so far, for the test that started us. libFuzzer does not come back."""
    _counts["rss_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    _counts.setdefault("rss_mb_at_first", _counts["rss_mb"] if _counts["inputs"] >= 5_000 else 0)
    if not _counts["rss_mb_at_first"]:
        del _counts["rss_mb_at_first"]
    path = os.environ.get("FUZZ_STATS")
    if path:
        with open(path, "w") as file:
            json.dump(_counts, file)


def plant() -> None:
    """A codec that takes a number from the wire for an index: for the test that the fuzzer would notice."""

    def careless(sm: pdu.Sm) -> tuple[None, bytes]:
        total = sm.tlvs.get(c.Tag.SAR_TOTAL_SEGMENTS)
        return None, sm.short_message if not total else bytes((sm.short_message[total[0]],))

    concat.concat_of = careless  # type: ignore[assignment]


def main() -> None:
    if os.environ.get("FUZZ_PLANT") == "1":
        plant()
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
