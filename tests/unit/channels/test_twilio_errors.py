"""What Twilio's answers mean, and which configurations are refused."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tidings.channels.http.call import Blocked, Doubtful, Throttled
from tidings.channels.sms.twilio_config import read_config
from tidings.channels.sms.twilio_errors import TABLE, error_of, judge, retry_after_s
from tidings.domain.attempt import PartRefused, PartRetry, PartSent
from tidings.domain.errors import SettingsError
from tidings.kit.outbound import Reply

SID = "AC" + "1" * 32


def reply(status: int, body: Any = "", **headers: str) -> Reply:
    raw = body if isinstance(body, str) else json.dumps(body)
    return Reply(status, {name.replace("_", "-"): value for name, value in headers.items()}, raw.encode())


@pytest.mark.parametrize(
    ("answer", "kind", "code"),
    [
        (reply(400, {"code": 21211}), PartRefused, "invalid_recipient"),
        (reply(400, {"code": 21610}), PartRefused, "unsubscribed"),
        (reply(403, {"code": 21610}), PartRefused, "unsubscribed"),
        (reply(400, {"code": 21614}), PartRefused, "not_mobile"),
        (reply(400, {"code": 30007}), PartRefused, "filtered"),
        (reply(400, {"code": 99999}), PartRefused, "refused"),
        (reply(400, "<html>"), PartRefused, "refused"),
        (reply(422, {"code": None}), PartRefused, "refused"),
        (reply(201, {"sid": "SM1", "status": "failed", "error_code": 30006}), PartRefused, "not_mobile"),
        (reply(400, {"code": 21611}), PartRetry, "queue_full"),
        (reply(429, {"code": 63038}), PartRetry, "throttled"),
        (reply(429, {"code": 21611}, retry_after="7"), PartRetry, "queue_full"),
        (reply(401, {"code": 20003}), Blocked, "bad_credentials"),
        (reply(401, ""), Blocked, "bad_credentials"),
        (reply(403, {"code": 20003}), Blocked, "bad_credentials"),
        (reply(403, {"code": 30002}), Blocked, "account_suspended"),
        (reply(404, {"code": 20404}), Blocked, "not_found"),
        (reply(302, "", location="https://elsewhere.example"), Blocked, "not_found"),
    ],
)
def test_named_errors(answer: Reply, kind: type[Any], code: str) -> None:
    judged = judge(answer)
    assert isinstance(judged, kind)
    assert judged.error.code == code
    assert judged.error.permanent is (kind is PartRefused)
    assert judged.error.provider_code
    assert judged.error.spec


@pytest.mark.parametrize("status", [500, 502, 503, 504, 408])
def test_nobody_knows(status: int) -> None:
    assert judge(reply(status, {"code": 20500})) == Doubtful(f"http_{status}")


@pytest.mark.parametrize(
    ("answer", "after_s"),
    [
        (reply(429, {"code": 20429}), None), (reply(429, ""), None), (reply(400, {"code": 20429}, retry_after="2"), 2.0),
        (reply(429, "", retry_after="120"), 120.0), (reply(429, "", retry_after="9999999999"), None),
        (reply(429, "", retry_after="Wed, 21 Oct 2026 07:28:00 GMT"), None), (reply(429, "", retry_after="99999"), 3600.0),
    ],
)  # fmt: skip
def test_too_fast(answer: Reply, after_s: float | None) -> None:
    assert judge(answer) == Throttled(after_s)
    assert retry_after_s(answer) == after_s


@pytest.mark.parametrize(
    ("body", "ref"),
    [({"sid": "SM1", "status": "queued"}, "SM1"), ({}, ""), ("<html>", ""), ({"sid": 7}, ""), ("[]", "")],
)
def test_taken_is_taken(body: Any, ref: str) -> None:
    """A 2xx that cannot be read is no reason to send the message once more."""
    assert judge(reply(201, body)) == PartSent(ref)


def test_every_row_is_told_apart() -> None:
    assert {meaning for meaning, _, _ in TABLE.values()} == {"permanent", "retry", "throttle", "account"}
    assert error_of(30003, "undelivered").code == "unreachable"
    assert error_of(None, "failed").code == "carrier_failed"


GOOD = {"account_sid": SID, "auth_token": "t"}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"account_sid": "AC1"}, "account_sid"), ({"auth_token": ""}, "auth_token"), ({"auth_token": 7}, "auth_token"),
        ({"api_key_sid": "SK1"}, "api_key_sid"), ({"api_key_sid": "SK" + "1" * 32}, "api_key_secret"),
        ({"messaging_service_sid": "x"}, "messaging_service_sid"), ({"base_url": "http://a.example"}, "https://"),
        ({"base_url": "https://u:p@a.example"}, "user"), ({"public_url": "ftp://a"}, "public_url"),
        ({"public_url": "https://a_b.example"}, "underscore"), ({"public_url": "https://a.example/?x=1"}, "query"),
        ({"callback_overrides": "#rc=1"}, "callback_overrides"), ({"window": 0}, "window"), ({"rate_per_s": -1}, "rate_per_s"),
        ({"response_timeout_s": 60}, "response_timeout_s"), ({"reconnect_min_s": 9, "reconnect_max_s": 1}, "reconnect_max_s"),
        ({"allow_networks": ["10.0.0.0/33"]}, "allow_networks"), ({"no_such_key": 1}, "no_such_key"),
        (
            {"auth_token": "", "api_key_sid": "SK" + "1" * 32, "api_key_secret": "s", "public_url": "https://a.example"},
            "auth_token",
        ),
    ],
)  # fmt: skip
def test_bad_configurations_name_the_key(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError, match=rf"provider acme: .*{says}"):
        read_config("acme", GOOD | changes)


def test_good_configurations() -> None:
    assert read_config("acme", GOOD).login == (SID, "t")
    keyed = read_config("acme", {"account_sid": SID, "api_key_sid": "SK" + "2" * 32, "api_key_secret": "s"})
    assert keyed.login == ("SK" + "2" * 32, "s")
    read_config("acme", GOOD | {"callback_overrides": "rc=3&rp=5xx,ct,rt", "public_url": "https://a.example/behind"})


def test_the_configuration_of_the_page() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "providers" / "twilio.md").read_text()
    (block,) = re.findall(r"```toml\n(.*?)```", page, re.S)
    (table,) = tomllib.loads(block)["providers"]
    taken = {
        "env:TWILIO_ACCOUNT_SID": SID,
        "env:TWILIO_AUTH_TOKEN": "t",
        "env:TWILIO_MESSAGING_SERVICE_SID": "MG" + "1" * 32,
    }
    config = {key: taken.get(value, value) for key, value in table.items() if key not in ("name", "type")}
    assert read_config(table["name"], config).callback_overrides == "rc=3&rp=5xx,ct,rt"
