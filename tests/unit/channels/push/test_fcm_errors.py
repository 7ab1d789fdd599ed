"""What each answer of FCM means."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tidings.channels.http.call import Blocked, Doubtful, Throttled
from tidings.channels.push.fcm_errors import judge
from tidings.domain.attempt import PartRefused, PartRetry, PartSent
from tidings.kit.outbound import Reply
from tidings.sandbox.push_fcm import Answer, fcm_error, invalid, throttled


def reply(answer: Answer) -> Reply:
    return Reply(answer.status, {k.lower(): v for k, v in answer.headers.items()}, json.dumps(answer.body).encode())


NAME = "projects/acme/messages/0:1500415314455276%31bd1c96"
REFUSED: list[tuple[Answer, str, str | None]] = [
    (fcm_error(404, "NOT_FOUND", "UNREGISTERED", ""), "unregistered", "unregistered"),
    (invalid("message.token", "no token"), "invalid_recipient", "invalid"),
    (invalid("message.fid", "no id"), "invalid_recipient", "invalid"),
    (invalid("message.android.ttl", "no ttl"), "invalid_content", None),
    (fcm_error(400, "INVALID_ARGUMENT", "", ""), "invalid_content", None),
    (fcm_error(403, "PERMISSION_DENIED", "SENDER_ID_MISMATCH", ""), "wrong_sender", None),
    (fcm_error(401, "UNAUTHENTICATED", "THIRD_PARTY_AUTH_ERROR", ""), "third_party_auth", None),
    (fcm_error(409, "ABORTED", "", ""), "refused", None),
]


@pytest.mark.parametrize(("answer", "code", "suppress"), REFUSED)
def test_refused(answer: Answer, code: str, suppress: str | None) -> None:
    judged = judge(reply(answer))
    assert isinstance(judged, PartRefused)
    assert (judged.error.code, judged.suppress) == (code, suppress)
    assert judged.error.permanent
    assert judged.error.provider_code


@pytest.mark.parametrize(
    ("answer", "after_s"),
    [
        (fcm_error(503, "UNAVAILABLE", "UNAVAILABLE", "", 17), 17),
        (fcm_error(503, "UNAVAILABLE", "UNAVAILABLE", ""), None),
        (throttled("device:tok", 60), 60),
    ],
)
def test_retried(answer: Answer, after_s: float | None) -> None:
    judged = judge(reply(answer))
    assert isinstance(judged, PartRetry)
    assert judged.after_s == after_s
    assert judged.error.retryable


@pytest.mark.parametrize(
    ("answer", "after_s"),
    [
        (throttled("project:acme", 30), 30),
        (fcm_error(429, "RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED", "", 7_200), 3_600),
        (fcm_error(429, "RESOURCE_EXHAUSTED", "", ""), None),
        (Answer(429, {}), None),
    ],
)
def test_throttled(answer: Answer, after_s: float | None) -> None:
    assert judge(reply(answer)) == Throttled(after_s)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (fcm_error(401, "UNAUTHENTICATED", "", ""), "bad_credentials"),
        (fcm_error(403, "PERMISSION_DENIED", "", ""), "access_denied"),
        (fcm_error(404, "NOT_FOUND", "", ""), "not_found"),
        (Answer(403, {}), "access_denied"),
        (Answer(400, {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}), "bad_credentials"),
    ],
)
def test_blocked(answer: Answer, code: str) -> None:
    judged = judge(reply(answer))
    assert isinstance(judged, Blocked)
    assert judged.error.code == code
    assert judged.error.retryable  # the message waits for the operator


@pytest.mark.parametrize(
    "answer", [fcm_error(500, "INTERNAL", "INTERNAL", ""), fcm_error(504, "DEADLINE_EXCEEDED", "", ""), Answer(502, {})]
)
def test_doubtful(answer: Answer) -> None:
    assert judge(reply(answer)) == Doubtful(f"http_{answer.status}")


@pytest.mark.parametrize(
    ("body", "ref"),
    [
        (json.dumps({"name": NAME}).encode(), NAME), (b"{}", ""), (b"<html>", ""), (b"", ""), (b"[1]", ""),
        (json.dumps({"name": "x" * 300}).encode(), ""), (b'{"name": 7}', ""),
    ],
)  # fmt: skip
def test_taken_whatever_it_says(body: bytes, ref: str) -> None:
    judged = judge(Reply(200, {}, body))
    assert isinstance(judged, PartSent)
    assert judged.ref == ref or (not ref and judged.ref.startswith("push-"))
    assert ref or judge(Reply(200, {}, body)) != judged  # an id of its own each time


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"error": []}', b'{"error": {"details": 7}}', b"[[["])
@pytest.mark.parametrize("status", [302, 400, 401, 404, 429, 500, 503])
def test_anything_has_a_meaning(status: int, body: bytes) -> None:
    judged: Any = judge(Reply(status, {"retry-after": "soon"}, body))
    assert not isinstance(judged, PartSent)
