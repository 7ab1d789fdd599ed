"""What Meta's answers mean: every documented code, and what is not documented."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidings.channels.http.call import Blocked, Doubtful, Throttled
from tidings.channels.whatsapp.cloud_errors import TABLE, error_of, judge, suppression
from tidings.domain.attempt import PartRefused, PartRetry, PartSent
from tidings.kit.outbound import Reply

SENT = {"messaging_product": "whatsapp", "contacts": [{"input": "1", "wa_id": "1"}], "messages": [{"id": "wamid.1"}]}


def reply(status: int, body: Any, **headers: str) -> Reply:
    return Reply(status, headers, body if isinstance(body, bytes) else json.dumps(body).encode())


def error(code: int | None, details: str | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {"message": f"(#{code}) Recipient +16505551234", "type": "OAuthException"}
    if code is not None:
        found["code"] = code
    if details is not None:
        found["error_data"] = {"messaging_product": "whatsapp", "details": details}
    return {"error": found}


@pytest.mark.parametrize(
    ("body", "ref"),
    [
        (SENT, "wamid.1"), (SENT | {"messages": [{"id": "wamid.2", "message_status": "accepted"}]}, "wamid.2"),
        ({}, ""), (b"", ""), (b"<html>", ""), ([], ""), ({"messages": []}, ""), ({"messages": [7]}, ""),
        ({"messages": [{"id": 7}]}, ""),
        ({"messages": [{"id": "x" * 257}]}, ""),
    ],
)  # fmt: skip
def test_taken_even_if_the_answer_is_odd(body: Any, ref: str) -> None:
    assert judge(reply(200, body)) == PartSent(ref)


#: The codes that the issue and Meta's page name → what becomes of the message.
MEANINGS: dict[type, tuple[int, ...]] = {
    Throttled: (4, 80007, 130429),
    Blocked: (0, 3, 10, 33, 190, 200, 368, 131031, 131042, 131045, 133010),
    PartRetry: (1, 2, 131000, 131016, 131048, 131056, 131057, 133004, 134101),
    PartRefused: (
        100, 130472, 130497, 131005, 131008, 131009, 131021, 131026, 131030, 131037, 131047, 131049, 131050, 131051, 131052,
        131053, 132000, 132001, 132005, 132007, 132012, 132015, 132016, 132068, 132069, 135000,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "code"), [(kind, code) for kind, codes in MEANINGS.items() for code in codes])
def test_documented_codes(kind: type, code: int) -> None:
    for status in (400, 500):
        found = judge(reply(status, error(code)))
        assert type(found) is kind
        if isinstance(found, PartRefused | PartRetry | Blocked):
            made = found.error
            assert (made.permanent, made.retryable) == (kind is PartRefused, kind is not PartRefused)
            assert (made.provider_code, made.code) == (str(code), TABLE[code].code)
            assert made.spec
            assert made.detail
            assert "6505551234" not in repr(found)


def test_the_table() -> None:
    assert {row.meaning for row in TABLE.values()} == {"permanent", "retry", "throttle", "account"}
    assert all(row.code and row.detail.endswith(".") for row in TABLE.values())
    assert error_of(131047, None).code == "outside_window"
    assert (error_of(None, None).code, error_of(7, "no").detail) == (
        "undeliverable",
        "Meta could not deliver the message. Meta: no",
    )
    assert error_of(130429, None).permanent  # reported after Meta took it: nothing is tried again by itself
    assert (suppression(131050), suppression(131026), suppression(None)) == ("unsubscribed", None, None)
    refused = judge(reply(400, error(131050)))
    assert isinstance(refused, PartRefused)
    assert refused.suppress == "unsubscribed"


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (500, b"", Doubtful), (502, b"<html>", Doubtful), (503, error(999_999), Doubtful), (408, b"", Doubtful),
        (429, b"", Throttled), (429, error(999_999), Throttled), (401, b"", Blocked), (403, error(299), Blocked),
        (400, error(211), Blocked), (404, b"", Blocked), (302, b"", Blocked), (400, b"", PartRefused),
        (400, error(999_999), PartRefused), (400, error(None), PartRefused), (400, {"error": "no"}, PartRefused),
        (400, {"error": {"code": True}}, PartRefused), (422, [], PartRefused),
    ],
)  # fmt: skip
def test_what_is_not_documented(status: int, body: Any, kind: type) -> None:
    assert type(judge(reply(status, body))) is kind


@pytest.mark.parametrize(
    ("code", "header", "after_s"),
    [
        (130429, "7", 7.0), (130429, None, None), (131056, None, 6.0), (131056, "30", 30.0), (131048, None, 3_600.0),
        (131000, None, None), (4, "99999999", 3_600.0), (4, "Wed, 21 Oct 2026 07:28:00 GMT", None), (4, "-1", None), (4, "²", None),
    ],
)  # fmt: skip
def test_when_to_come_again(code: int, header: str | None, after_s: float | None) -> None:
    found = judge(reply(400, error(code), **({} if header is None else {"retry-after": header})))
    assert isinstance(found, Throttled | PartRetry)
    assert found.after_s == after_s


def test_details_help_and_hold_no_number() -> None:
    said = (
        "body: number of localizable_params (1) does not match the expected number of params (2) for +1 (650) 555-1234"
    )
    found = judge(reply(400, error(132000, said)))
    assert isinstance(found, PartRefused)
    assert "expected number of params (2) for …" in found.error.detail


@settings(max_examples=100)
@given(
    st.integers(100, 599), st.integers() | st.none() | st.text(max_size=3), st.text(max_size=5), st.binary(max_size=9)
)
def test_nothing_raises(status: int, code: Any, details: str, junk: bytes) -> None:
    for body in (error(code, details), {"error": details}, {"error": [code]}, junk):
        judge(reply(status, body))
