"""Logs: one JSON object a line, and no secret, address or content in it."""

import io
import json
import logging
from typing import Any

import pytest
import structlog

from tidings.kit import log

SECRETS: list[tuple[dict[str, Any], str]] = [
    ({"detail": "key tk_live_abcdef0123456789 was refused"}, "abcdef0123456789"),
    ({"detail": "secret whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}, "MfKQ9r8G"),
    ({"headers": {"Authorization": "Bearer tk_test_zzz"}}, "zzz"),
    ({"header": "authorization: Basic dXNlcjpwYXNz"}, "dXNlcjpwYXNz"),
    ({"config": {"host": "h", "password": "hunter2"}}, "hunter2"),
    ({"why": "login failed: password=hunter2, try again"}, "hunter2"),
    ({"why": "'password': 'hunter2'"}, "hunter2"),
    ({"to": "+14155550123"}, "4155550123"),
    ({"why": "no route to +14155550123 today"}, "4155550123"),
    ({"why": "no route to 4915112345678"}, "4915112345678"),
    ({"who": ["ann@example.com"]}, "ann@"),
    ({"text": "your code is 123"}, "123"),
    ({"body": b"raw"}, "raw"),
    ({"api_key": "abracadabra"}, "abracadabra"),
]


@pytest.mark.parametrize(("fields", "secret"), SECRETS)
@pytest.mark.parametrize("through", ["structlog", "logging"])
def test_nothing_personal_or_secret_is_written(fields: dict[str, Any], secret: str, through: str) -> None:
    written = io.StringIO()
    log.configure("INFO", written)
    if through == "structlog":
        structlog.get_logger("t").warning("something", **fields)
    else:
        logging.getLogger("t").warning("something %s", "happened", extra=fields)
    line = json.loads(written.getvalue())
    assert line["event"].startswith("something")
    assert line["level"] == "warning"
    assert secret not in written.getvalue()


def test_exceptions_are_scrubbed_and_show_no_locals() -> None:
    written = io.StringIO()
    log.configure("INFO", written)
    hidden = "local-value"
    try:
        raise ValueError("tk_live_abcdef", len(hidden))
    except ValueError as error:
        structlog.get_logger("t").error("failed", exc_info=error)
    assert "ValueError" in json.loads(written.getvalue())["exception"]
    assert "abcdef" not in written.getvalue()
    assert "local-value'" not in written.getvalue()


KEPT = [
    "msg_0193b1a2c3d47e5f8a9b0c1d2e3f4a5b",
    "2026-11-24T01:02:03.004Z",
    "127.0.0.1:2775",
    "took 1500 ms",
    "status 0x0B",
]


@pytest.mark.parametrize("text", KEPT)
def test_what_helps_is_kept(text: str) -> None:
    assert log.scrub(text) == text
