"""What answers mean to `sms.http`, and where in them it finds a value."""

from __future__ import annotations

import copy
import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peers.carriers import RecordingSink
from peers.http_carriers import FORM
from tidings.channels.contract import ProviderSpec
from tidings.channels.described.pick import PickError, Said, parse
from tidings.channels.http.call import Blocked, Doubtful, Throttled
from tidings.channels.sms.http_carrier import HttpProvider
from tidings.domain.attempt import PartRefused, PartRetry, PartSent
from tidings.kit.outbound import Reply


def config(**changes: Any) -> dict[str, Any]:
    """The plain aggregator's, with changes in its tables: `response__id=…`."""
    made = copy.deepcopy(FORM)
    made["request"]["url"] = "https://api.example.com/send"
    for path, value in changes.items():
        table, _, key = path.rpartition("__")
        (made[table] if table else made)[key] = value
    return made


def provider(made: dict[str, Any]) -> HttpProvider:
    return HttpProvider(ProviderSpec(name="acme", type="sms.http", config=made), RecordingSink())


def reply(status: int, body: Any = "", **headers: str) -> Reply:
    raw = body if isinstance(body, bytes) else (body if isinstance(body, str) else json.dumps(body)).encode()
    return Reply(status, {name.replace("_", "-"): value for name, value in headers.items()}, raw)


@pytest.mark.parametrize(
    ("answer", "kind", "code"),
    [
        (reply(200, {"result": "ok", "id": 17}), PartSent, "17"),
        (reply(202, {"result": "ok"}), PartSent, ""),
        (reply(200, {"result": "bad_number"}), PartRefused, "invalid_recipient"),
        (reply(200, {"result": "busy"}), PartRetry, "carrier_error"),
        (reply(200, {"result": "never heard of"}), PartRetry, "carrier_error"),
        (reply(400, {"result": "ok"}), PartRetry, "carrier_error"),
        (reply(400, "no"), PartRefused, "refused"),
        (reply(200, {"result": "too_fast"}, retry_after="3"), Throttled, None),
        (reply(429, "slow down"), Throttled, None),
        (reply(200, "<html>maintenance</html>"), Doubtful, None),
        (reply(200, b"\xff\xfe"), Doubtful, None),
        (reply(503, "down"), Doubtful, None),
        (reply(408, ""), Doubtful, None),
        (reply(401, ""), Blocked, "bad_credentials"),
        (reply(403, ""), Blocked, "bad_credentials"),
        (reply(301, "", location="https://elsewhere.example"), Blocked, "bad_credentials"),
    ],
)
def test_answers(answer: Reply, kind: type[Any], code: str | None) -> None:
    judged: Any = provider(config())._codec.judge(answer)
    assert isinstance(judged, kind)
    if kind is PartSent:
        assert judged.ref == code
    elif code is not None:
        assert judged.error.code == code
        assert judged.error.permanent is (kind is PartRefused)


def test_statuses_can_be_named() -> None:
    made = config(codes={"retryable": ["http:503"], "account": ["http:402"], "permanent": {"http:410": "blocked"}})
    codec = provider(made)._codec
    assert isinstance(codec.judge(reply(503)), PartRetry)
    assert isinstance(codec.judge(reply(402)), Blocked)
    assert codec.judge(reply(410)).error.code == "blocked"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("pick", "body", "value"),
    [
        ("json:/a/1/b", '{"a": [0, {"b": "x"}]}', "x"),
        ("json:/a~1b/m~0n", '{"a/b": {"m~n": 1.0}}', "1"),
        ("json:/a", '{"a": true}', "true"),
        ("json:/a", '{"a": null}', None),
        ("json:/a", '{"a": {}}', None),
        ("json:/a/9", '{"a": [1]}', None),
        ("json:/a/-1", '{"a": [1]}', None),
        ("json:", '"x"', "x"),
        ("json:/a", "x", None),
        ("xml:r/m/id", "<r><m><id> 7 </id></m></r>", "7"),
        ("xml:m/@id", "<r><m id='7'/></r>", "7"),
        ("xml:@v", "<r v='1'/>", "1"),
        ("xml:r/m", '<n:r xmlns:n="u"><n:m>x</n:m></n:r>', "x"),
        ("xml:r/none", "<r/>", None),
        ("xml:r", "<r", None),
        ("xml:r", '<!DOCTYPE r [<!ENTITY a "b">]><r>&a;</r>', None),
        ("xml:r", "<!-- c --><r><![CDATA[<x>]]></r>", "<x>"),
        (r"regex:ID: (\w+)", "OK ID: ab12", "ab12"),
        (r"regex:^(\d{3})", "no", None),
        ("regex:x(.)", "y" * 600 + "xz", None),
        ("header:X-Id", "", "7"),
    ],
)
def test_picks(pick: str, body: str, value: str | None) -> None:
    assert parse(pick).of(Said(body.encode(), {"x-id": "7"}, {}, {})) == value


@pytest.mark.parametrize(
    "pick",
    [
        "",
        "id",
        "json",
        "json:a",
        "xml:",
        "xml:a//b",
        "xml:../a",
        "xml:*",
        "xml:a[1]",
        "regex:abc",
        "regex:(a)(b)",
        "regex:(",
        "field:",
        "regex:((a)*)",
        "regex:(a|b)*",
        r"regex:(a)\1",
        "regex:(?=a)(b)",
        "regex:a*b*(c*)",
        "regex:(" + "a" * 200 + ")",
    ],
)
def test_bad_picks(pick: str) -> None:
    with pytest.raises(PickError):
        parse(pick)


def test_no_pick_is_costly() -> None:
    """The dearest expression that is let through, on what hurts it most."""
    found = parse("regex:.*.*(b)")
    began_s = time.thread_time()
    assert found.of(Said(b"a" * 100_000, {}, {}, {})) is None
    assert time.thread_time() - began_s < 2.0


@settings(max_examples=200, deadline=None)
@given(
    st.integers(100, 599),
    st.binary(max_size=200),
    st.dictionaries(st.sampled_from(["retry-after", "x"]), st.text(max_size=9)),
)
def test_any_answer_has_a_meaning(status: int, body: bytes, headers: dict[str, str]) -> None:
    made = config(response__id="xml:a/@b", response__error=r"regex:(\d+)")
    judged = provider(made)._codec.judge(Reply(status, headers, body))
    assert isinstance(judged, (PartSent, PartRefused, PartRetry, Throttled, Blocked, Doubtful))
    assert not isinstance(judged, PartSent)  # nothing says "ok" by chance
