"""The small pure parts: logins, throttling, rates, progress, ids, receipts."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from tidings.domain import smpp_login
from tidings.domain.event import Event
from tidings.domain.message import Message, Personal
from tidings.domain.view import StoredMessage
from tidings.kit.ids import new_id
from tidings.kit.secrets import KeyRing
from tidings.protocols.smpp.concat import concat_of, read_user_data
from tidings.protocols.smpp.pdu import decode_sm
from tidings.protocols.smpp.receipt import parse_receipt
from tidings.smppd import config, ids
from tidings.smppd.account import Account, Rate
from tidings.smppd.address import written
from tidings.smppd.deliver import Delivery, deliveries
from tidings.smppd.operations import query_answer
from tidings.smppd.progress import Progress
from tidings.smppd.submit import Origin
from tidings.smppd.throttle import BindThrottle
from tidings.store.accounts import StoredKey
from tidings.store.lists import NO_SUBJECTS, StoredInbound, Subjects

KEY = "key_" + "ab" * 16
MESSAGE = "msg_" + "cd" * 16


def test_logins(tmp_path: Path) -> None:
    ring, other = KeyRing.load(tmp_path / "keys.json"), KeyRing.load(tmp_path / "other.json")
    made = {smpp_login.password(ring, new_id("key")) for _ in range(500)}
    assert len(made) == 500
    assert {len(password) for password in made} == {8}
    assert smpp_login.password(ring, KEY) == smpp_login.password(ring, KEY) != smpp_login.password(other, KEY)
    assert smpp_login.matches(ring, KEY, smpp_login.password(ring, KEY))
    assert not smpp_login.matches(ring, KEY, smpp_login.password(other, KEY))
    assert not smpp_login.matches(ring, KEY, "")


@pytest.mark.parametrize(
    ("granted", "scope", "allowed"),
    [
        (["*"], "messages:read", True),
        (["messages:*"], "messages:read", True),
        (["messages:read"], "messages:read", True),
        (["messages:write", "events:*"], "messages:read", False),
        ([], "messages:read", False),
    ],
)
def test_scopes(granted: list[str], scope: str, allowed: bool) -> None:
    assert smpp_login.allows(granted, scope) is allowed


def test_throttle_gives_tries_back_slowly() -> None:
    now = 0.0
    throttle = BindThrottle(lambda: now)
    for n in range(config.FAILURES_PER_NAME):
        assert throttle.may_try(f"10.0.0.{n}", "name")
        throttle.failed(f"10.0.0.{n}", "name")
    assert not throttle.may_try("10.0.1.1", "name")
    assert throttle.may_try("10.0.1.1", "another")
    now += config.FAILURE_BACK_S
    assert throttle.may_try("10.0.1.1", "name")
    throttle.failed("10.0.1.1", "name")
    assert not throttle.may_try("10.0.1.1", "name")
    for n in range(config.FAILURES_PER_ADDRESS):
        throttle.failed("10.0.2.2", f"name{n}")
    assert not throttle.may_try("10.0.2.2", "fresh")


def test_throttle_forgets_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidings.smppd.throttle.FAILURES_KEPT", 10)
    throttle = BindThrottle(lambda: 0.0)
    for n in range(100):
        throttle.failed(f"10.0.0.{n}", f"name{n}")
        throttle.succeeded(f"10.0.0.{n}", f"name{n}")
    assert len(throttle._names._left) == len(throttle._addresses._left) == 10


def test_rate() -> None:
    now = 0.0
    rate = Rate(5, lambda: now)
    assert [rate.take() for _ in range(7)] == [True] * 5 + [False] * 2
    now = 0.41
    assert [rate.take() for _ in range(3)] == [True] * 2 + [False]
    now = 100.0
    assert sum(rate.take() for _ in range(50)) == 5


@pytest.mark.parametrize("seed", range(20))
def test_the_cursor_never_passes_what_is_not_done(seed: int) -> None:
    rng = random.Random(seed)
    progress, left = Progress(100), {}
    for seq in range(101, 200):
        count = rng.choice((0, 0, 1, 2, 3))
        progress.add(seq, count)
        progress.reach(seq)
        if count:
            left[seq] = count
        while left and rng.random() < 0.5:
            done = rng.choice(list(left))
            progress.done(done)
            left[done] -= 1
            if not left[done]:
                del left[done]
            assert progress.cursor == (min(left) - 1 if left else seq)
    assert progress.open == len(left)


@pytest.mark.parametrize(
    ("given", "digits"),
    [
        ("cd" * 16, "cd" * 16),
        (MESSAGE, "cd" * 16),
        ("CD" * 16, "cd" * 16),
        ("cd", None),
        ("", None),
        ("zz" * 16, None),
    ],
)
def test_ids(given: str, digits: str | None) -> None:
    assert ids.read(given) == digits
    assert ids.shown(MESSAGE) == "cd" * 16


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("+14155550123", (1, 1, b"14155550123")),
        ("12345", (0, 1, b"12345")),
        ("ACME", (5, 0, b"ACME")),
        (None, (0, 0, b"")),
        ("x" * 30, (5, 0, b"x" * 20)),
        ("Ж", (5, 0, b"?")),
    ],
)
def test_written_addresses(address: str | None, expected: tuple[int, int, bytes]) -> None:
    assert written(address) == expected


# -- receipts and inbound


def account(mode: str = "live") -> Account:
    key = StoredKey(
        id=KEY, project="prj", name="", mode=mode, scopes=["*"], hash="", hint="", created_ms=0
    )  # fmt: skip
    return Account(key, 10)


def told(
    kind: str, origin: Origin | None = None, error: dict[str, Any] | None = None, text: str = "hello"
) -> list[Delivery]:
    origin = origin or Origin(account=KEY, receipts="all")
    metadata = {"smpp": {"account": origin.account, "receipts": origin.receipts, "ids": list(origin.ids)}}
    if origin.user_ref is not None:
        metadata["smpp"]["user_ref"] = origin.user_ref
    message = Message(
        id=MESSAGE, project="prj", mode="live", channel="sms", lane="otp", created_ms=1_795_521_600_000, due_ms=0, status="sent",
        personal=Personal(to="+14155550123", sender="ACME", text=text, metadata=metadata),
    )  # fmt: skip
    event = Event(seq=7, project="prj", id="evt", type=kind, message=MESSAGE, at_ms=1_795_525_200_000)
    return deliveries(account(), event, Subjects({MESSAGE: StoredMessage(message=message, error=error)}, {}), "gsm")


@pytest.mark.parametrize(
    ("kind", "state", "number"),
    [
        ("delivered", "delivered", 2),
        ("undelivered", "undeliverable", 5),
        ("failed", "undeliverable", 5),
        ("partially_delivered", "undeliverable", 5),
        ("expired", "expired", 3),
        ("canceled", "deleted", 4),
        ("suppressed", "rejected", 8),
    ],
)
def test_receipts(kind: str, state: str, number: int) -> None:
    (one,) = told(f"message.{kind}", Origin(account=KEY, receipts="all", user_ref=513), {"provider_code": "0x00000041"})
    sm = decode_sm(one.body + one.tlvs)
    receipt = parse_receipt(sm)
    assert receipt is not None
    assert (receipt.message_id, receipt.state, receipt.user_message_reference) == ("cd" * 16, state, 513)
    assert receipt.error == ("000" if kind == "delivered" else "041")
    assert (sm.source_addr, sm.destination_addr, sm.esm_class) == (b"14155550123", b"ACME", 4)
    assert sm.tlvs[0x427] == bytes((number,))
    assert b" submit date:2611241200 done date:2611241300 " in sm.short_message
    bare = parse_receipt(decode_sm(one.body))
    assert bare is not None
    assert (bare.message_id, bare.state) == ("cd" * 16, state)


@pytest.mark.parametrize(
    ("receipts", "kinds"),
    [
        ("none", set[str]()),
        ("all", {"delivered", "failed"}),
        ("failures", {"failed"}),
        ("successes", {"delivered"}),
    ],
)
def test_only_the_receipts_that_were_asked_for(receipts: Any, kinds: set[str]) -> None:
    origin = Origin(account=KEY, receipts=receipts)
    assert {kind for kind in ("delivered", "failed") if told(f"message.{kind}", origin)} == kinds


def test_a_receipt_for_every_part() -> None:
    found = told("message.delivered", Origin(account=KEY, receipts="all", ids=("prt_" + "1" * 32, "prt_" + "2" * 32)))
    assert [parse_receipt(decode_sm(one.body)).message_id for one in found] == ["1" * 32, "2" * 32]  # type: ignore[union-attr]


def test_other_peoples_messages_are_not_ours() -> None:
    assert told("message.delivered", Origin(account="key_other", receipts="all")) == []
    event = Event(seq=1, project="prj", id="evt", type="message.delivered", message=MESSAGE, at_ms=0)
    assert deliveries(account(), event, NO_SUBJECTS, "gsm") == []


def test_the_text_of_a_receipt_reads_the_same_in_either_alphabet() -> None:
    (one,) = told("message.delivered", text="Ваш_код @ {123}")
    raw = decode_sm(one.body).short_message
    assert raw.endswith(b"text:  123")
    assert b"_" not in raw


def inbound(
    text: str | None,
    provider: str = "carrier",
    mode: str = "live",
    alphabet: Any = "gsm",
    content: dict[str, Any] | None = None,
) -> list[Delivery]:
    item = StoredInbound(
        id="msg_1", provider=provider, channel="sms", sender="+14155550123", to="12345", text=text,
        content=content, in_reply_to=None, parts=1, missing=0, received_ms=0,
    )  # fmt: skip
    event = Event(seq=300, project="prj", id="evt", type="message.received", message="msg_1", at_ms=0)
    return deliveries(account(mode), event, Subjects({}, {"msg_1": item}), alphabet)


@pytest.mark.parametrize(
    ("text", "alphabet", "coding", "parts"),
    [
        ("Hi @ [you]", "gsm", 0, 1),
        ("x" * 161, "gsm", 0, 2),
        ("Ж" * 71, "gsm", 8, 2),
        ("Grüße", "latin1", 3, 1),
        ("Ж", "ascii", 8, 1),
        ("", "gsm", 0, 1),
    ],
)
def test_what_people_write(text: str, alphabet: Any, coding: int, parts: int) -> None:
    found = [decode_sm(one.body + one.tlvs) for one in inbound(text, alphabet=alphabet)]
    assert "".join(read_user_data(sm, alphabet).text or "" for sm in found) == text
    assert ({sm.data_coding for sm in found}, len(found)) == ({coding}, parts)
    assert {(sm.source_addr, sm.destination_addr) for sm in found} == {(b"14155550123", b"12345")}
    if parts > 1:
        marks = [concat_of(sm)[0] for sm in found]
        assert [(mark.ref, mark.part) for mark in marks if mark] == [(300 & 0xFF, n) for n in range(1, parts + 1)]


@pytest.mark.parametrize(
    ("content", "udh", "octets"),
    [
        ({"data": "0106ff"}, None, b"\x01\x06\xff"),
        ({"data": "0106", "destination_port": 2948, "source_port": 9200}, "05040b8423f0", b"\x01\x06"),
    ],
)
def test_octets_stay_octets(content: dict[str, Any], udh: str | None, octets: bytes) -> None:
    (one,) = inbound(None, content=content)
    sm = decode_sm(one.body)
    assert (sm.data_coding, sm.esm_class) == (4, 0x40 if udh else 0)
    header = bytes.fromhex(f"06{udh}") if udh else b""
    assert sm.short_message == header + octets


def test_half_a_surrogate_pair_is_handed_on() -> None:
    (one,) = inbound("a\ud800b")
    assert read_user_data(decode_sm(one.body)).text == "a?b"


@pytest.mark.parametrize(
    ("provider", "mode", "count"),
    [("sandbox", "test", 1), ("sandbox", "live", 0), ("carrier", "live", 1), ("carrier", "test", 0)],
)
def test_test_keys_hear_of_the_sandbox_only(provider: str, mode: str, count: int) -> None:
    assert len(inbound("x", provider, mode)) == count


@pytest.mark.parametrize(
    ("status", "state", "error"),
    [("sent", 1, 0), ("queued", 1, 0), ("delivered", 2, 0), ("expired", 3, 1), ("canceled", 4, 1), ("failed", 5, 1)],
)
def test_query_answers(status: str, state: int, error: int) -> None:
    message = Message(
        id=MESSAGE, project="prj", mode="live", channel="sms", lane="otp", created_ms=0, due_ms=0, status=status,
        personal=Personal(to="+1"),
    )  # fmt: skip
    ended_ms = 1_795_525_200_000 if state > 1 else None
    answer = query_answer("abc", StoredMessage(message=message, ended_ms=ended_ms))
    assert (answer.message_state, answer.error_code) == (state, error)
    assert answer.final_date == ("261124130000000+" if state > 1 else "")
