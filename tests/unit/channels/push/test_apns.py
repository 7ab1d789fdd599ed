"""Provider `push.apns` before Node's http2: tokens, headers, GOAWAY, stream resets, and what becomes of each message."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from peers.apns import KEY_ID, TEAM, TOKEN, TOPIC, ApnsPeer, apns_config, apns_peer, certificate, pem, signing_key
from peers.carriers import RecordingSink, until
from tidings.channels.contract import ProviderSpec
from tidings.channels.http.call import Blocked, Call, Doubtful, Throttled
from tidings.channels.push.apns import ApnsCodec, ApnsProvider, check
from tidings.channels.push.apns_auth import RENEW_S, ProviderTokens
from tidings.channels.push.apns_config import Config
from tidings.channels.push.apns_errors import TABLE, judge
from tidings.domain.attempt import PartRefused, PartRetry, PartSent, PartUnknown, Submission
from tidings.domain.errors import SettingsError
from tidings.domain.push import PushContent
from tidings.kit.clock import wall_ms
from tidings.kit.outbound import Reply

NOW_MS = 1_700_000_000_000


@asynccontextmanager
async def sending(
    peer: ApnsPeer, scheme: str = "http", **more: Any
) -> AsyncIterator[tuple[ApnsProvider, RecordingSink]]:
    sink = RecordingSink()
    spec = ProviderSpec(name="acme", type="push.apns", config=apns_config(peer.port, scheme, **more))
    provider = ApnsProvider(spec, sink)
    await provider.start()
    try:
        yield provider, sink
    finally:
        await provider.stop(0)


def push(name: str, *tokens: str, **content: Any) -> Submission:
    tokens = tokens or (TOKEN,)
    return Submission(
        attempt_id=name, message_id=f"msg_{name}", lane="transactional", to=tokens[0], sender=None, channel="push",
        content=PushContent(**content or {"body": "Hi"}), parts=(b"",) * len(tokens), each=tokens if len(tokens) > 1 else (),
    )  # fmt: skip


async def outcome(provider: ApnsProvider, sink: RecordingSink, *submissions: Submission) -> Any:
    """Submits, waits, and gives the first part's outcome of the first one."""
    provider.submit(submissions)
    names = {one.attempt_id for one in submissions}
    await until(lambda: names <= {o.attempt_id for o in sink.done})
    return sink.outcome(submissions[0].attempt_id)[0]


async def test_over_tls_with_our_own_certificates(tmp_path: Path) -> None:
    key, cert = certificate(tmp_path)
    async with apns_peer((key, cert)) as peer:
        async with sending(peer, "https", ca_pem=cert.read_text()) as (provider, sink):
            part = await outcome(
                provider, sink, push("a", title="T", body="B", data={"k": "v"}, badge=0, collapse_key="c")
            )
            (request,) = await peer.requests()
            assert part == PartSent(request["headers"]["apns-id"])
            uuid.UUID(part.ref)
            body = json.loads(request["body"])
            assert body == {"aps": {"alert": {"title": "T", "body": "B"}, "badge": 0}, "k": "v"}
            sent = {name: value for name, value in request["headers"].items() if name.startswith("apns-")}
            del sent["apns-id"]
            assert sent == {
                "apns-topic": TOPIC, "apns-push-type": "alert", "apns-priority": "10", "apns-collapse-id": "c"
            }  # fmt: skip
        async with sending(peer, "https") as (provider, sink):  # the system's certificates do not vouch for this one
            part = await outcome(provider, sink, push("a"))
            assert isinstance(part, PartRetry)
            assert "certificate" in str(sink.links)
            assert await peer.requests() == []


async def test_many_on_one_connection() -> None:
    async with apns_peer() as peer, sending(peer, window=1_000) as (provider, sink):
        provider.submit([push(f"a{n}") for n in range(400)])
        await until(lambda: len(sink.done) == 400)
        assert {type(part) for done in sink.done for part in done.parts} == {PartSent}
        told = await peer.command("requests")
        assert (told["count"], told["connections"], told["tokens"]) == (400, 1, 1)
        assert told["most_streams"] > 20


async def test_devices_that_are_gone() -> None:
    async with apns_peer() as peer, sending(peer, window=1) as (provider, sink):
        await peer.script(
            {"status": 200}, {"status": 410, "reason": "Unregistered"}, {"status": 400, "reason": "BadDeviceToken"}
        )
        provider.submit([push("a", TOKEN, "cd" * 32, "ef" * 32, "12" * 32)])
        await until(lambda: sink.done)
        parts = sink.outcome("a")
        assert [type(part) for part in parts] == [PartSent, PartRefused, PartRefused, PartSent]
        assert [part.suppress for part in parts if isinstance(part, PartRefused)] == ["unregistered", None]


@pytest.mark.parametrize(
    ("fault", "kind", "count"),
    [
        ("goaway", PartSent, 2), ("goaway_after", PartSent, 1), ("refuse", PartSent, 2), ("reset", PartUnknown, 1),
        ("drop", PartUnknown, 1), ("goaway_taken", PartUnknown, 1), ("goaway_calm", PartUnknown, 1),
    ],
)  # fmt: skip
async def test_only_what_was_not_processed_is_sent_again(fault: str, kind: type, count: int) -> None:
    async with apns_peer() as peer, sending(peer) as (provider, sink):
        assert isinstance(
            await outcome(provider, sink, push("first")), PartSent
        )  # a GOAWAY has to name a stream before
        await peer.script({"fault": fault})
        assert isinstance(await outcome(provider, sink, push("a")), kind)
        assert isinstance(await outcome(provider, sink, push("b")), PartSent)
        seen = [request for request in await peer.requests() if request["headers"]["apns-id"] == ref("a")]
        assert len(seen) == count


def ref(name: str) -> str:
    call = codec().call(push(name), 0, NOW_MS)
    assert isinstance(call, Call)
    return call.headers["apns-id"]


def codec() -> ApnsCodec:
    return ApnsCodec(Config(team_id=TEAM, key_id=KEY_ID, private_key="", topic=TOPIC))


async def test_a_server_that_leaves_while_many_are_under_way() -> None:
    """Nothing reaches a device twice, what is called sent has reached one, and what nobody looked at is sent again.

    Node resets some of the streams that it did not look at as if they had ended well (RST_STREAM with NO_ERROR): that does not
    say that they were not processed, so they are unknown.
    """
    async with apns_peer() as peer, sending(peer, window=200) as (provider, sink):
        kinds: dict[str, Counter[type]] = {}
        for fault in ("goaway", "goaway_after"):
            await peer.script(*[{"status": 200}] * 60, {"fault": fault})
            names = [f"{fault}{n}" for n in range(200)]
            provider.submit([push(name) for name in names])
            await until(lambda: {o.attempt_id for o in sink.done} >= set(names))  # noqa: B023
            kinds[fault] = Counter(type(sink.outcome(name)[0]) for name in names)
        assert kinds["goaway_after"] == {PartSent: 200}
        assert set(kinds["goaway"]) <= {PartSent, PartUnknown}
        assert kinds["goaway"][PartSent] > 60
        seen = Counter(one["headers"]["apns-id"] for one in await peer.requests() if one["fault"] != "goaway")
        assert set(seen.values()) == {1}
        assert {part.ref for done in sink.done for part in done.parts if isinstance(part, PartSent)} <= set(seen)


async def test_a_cut_line_is_unknown_and_comes_back() -> None:
    async with apns_peer() as peer, sending(peer) as (provider, sink):
        await peer.script(*[{"fault": "hang"}] * 5)
        provider.submit([push(f"a{n}") for n in range(5)])
        while (await peer.command("count"))["count"] < 5:
            await asyncio.sleep(0.01)
        await peer.command("drop")
        await until(lambda: len(sink.done) == 5)
        assert {type(part) for done in sink.done for part in done.parts} == {PartUnknown}
        await until(lambda: provider.credit("otp") > 0)
        assert isinstance(await outcome(provider, sink, push("b")), PartSent)


async def test_no_answer_is_unknown() -> None:
    async with apns_peer() as peer, sending(peer, response_timeout_s=0.3) as (provider, sink):
        await peer.script({"fault": "hang"})
        assert await outcome(provider, sink, push("a")) == PartUnknown("no_answer")
        assert isinstance(await outcome(provider, sink, push("b")), PartSent)
        assert (await peer.command("count"))["connections"] == 1  # a slow answer is no reason to hang up


async def test_nobody_listens() -> None:
    async with apns_peer() as peer:
        port = peer.port
    peer.port = port
    async with sending(peer) as (provider, sink):
        part = await outcome(provider, sink, push("a"))
        assert isinstance(part, PartRetry)
        assert part.error.code == "no_link"
        assert TOKEN not in str(sink.links)


async def test_private_networks_are_shut() -> None:
    async with apns_peer() as peer, sending(peer, "https", allow_networks=[], requeue_s=0.1) as (provider, sink):
        assert isinstance(await outcome(provider, sink, push("a")), PartRetry)
        assert "private or reserved" in str(sink.links)
        assert (await peer.command("count"))["connections"] == 0


async def test_an_expired_token_is_replaced_once() -> None:
    async with apns_peer() as peer, sending(peer) as (provider, sink):
        await peer.script({"status": 403, "reason": "ExpiredProviderToken"})
        assert isinstance(await outcome(provider, sink, push("a")), PartSent)
        assert (await peer.command("count"))["count"] == 2
        await peer.command("set", options={"token_age_s": -1})  # as if our clock were wrong
        part = await outcome(provider, sink, push("b"))
        assert isinstance(part, PartRetry)
        assert part.error.code == "bad_credentials"
        assert (await peer.command("count"))["count"] == 4
        assert [link.state for link in provider.links()] == ["auth_failed"]


async def test_another_key_is_refused() -> None:
    """Otherwise the peer would not have verified ours."""
    other = pem(ec.generate_private_key(ec.SECP256R1()))
    async with apns_peer() as peer, sending(peer, private_key=other) as (provider, sink):
        part = await outcome(provider, sink, push("a"), push("b"))
        assert isinstance(part, PartRetry)
        assert part.error.provider_code == "InvalidProviderToken"
        assert [link.state for link in provider.links()] == ["auth_failed"]


async def test_one_device_that_has_enough() -> None:
    async with apns_peer() as peer, sending(peer) as (provider, sink):
        await peer.script({"status": 429, "reason": "TooManyRequests", "headers": {"retry-after": "9"}})
        part = await outcome(provider, sink, push("a"))
        assert isinstance(part, PartRetry)
        assert (part.error.code, part.after_s) == ("throttled", 9.0)
        assert isinstance(await outcome(provider, sink, push("b")), PartSent)


async def test_shutdown_is_tried_again() -> None:
    async with apns_peer() as peer, sending(peer) as (provider, sink):
        await peer.script({"status": 503, "reason": "Shutdown"})
        part = await outcome(provider, sink, push("a"))
        assert isinstance(part, PartRetry)
        assert part.error.retryable


def answered(status: int, reason: str = "", **headers: str) -> Any:
    body = json.dumps({"reason": reason}).encode() if reason else b""
    return judge(Reply(status, headers, body))


def test_every_reason_has_its_meaning() -> None:
    kinds = {"permanent": PartRefused, "gone": PartRefused, "retry": PartRetry, "throttle": Throttled, "account": Blocked,
             "doubtful": Doubtful}  # fmt: skip
    for reason, (meaning, code, _) in TABLE.items():
        judged = answered(400, reason)
        assert isinstance(judged, kinds[meaning]), reason
        if isinstance(judged, PartRefused | PartRetry | Blocked):
            assert (judged.error.code, judged.error.provider_code) == (code, reason)
    gone = {reason for reason in TABLE if getattr(answered(410, reason), "suppress", None)}
    assert gone == {"Unregistered", "ExpiredToken"}


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, PartRefused), (403, Blocked), (404, Blocked), (405, Blocked), (410, PartRefused), (413, PartRefused),
        (429, PartRetry), (500, Doubtful), (502, Doubtful), (503, PartRetry), (408, Doubtful), (302, PartRefused),
    ],
)  # fmt: skip
@pytest.mark.parametrize("reason", ["", "SomethingNew"])
def test_a_reason_that_nobody_knows(status: int, kind: type, reason: str) -> None:
    assert isinstance(answered(status, reason), kind)


@pytest.mark.parametrize("body", [b"", b"[", b"[1]", b'{"reason": 7}', b"\xff"])
def test_bodies_that_nobody_can_read(body: bytes) -> None:
    assert isinstance(judge(Reply(400, {}, body)), PartRefused)
    assert judge(Reply(200, {"apns-id": "x"}, body)) == PartSent("x")
    for headers in ({"apns-id": "x" * 65}, {}):
        judged = judge(Reply(200, headers, body))
        assert isinstance(judged, PartSent)
        assert judged.ref.startswith("push-")


def test_what_is_wrong_before_it_leaves() -> None:
    for token in ("fcm:token", "ab" * 31, "ab" * 101, "xy" * 32, "abc" * 21 + "\n"):
        call = codec().call(push("a", token), 0, NOW_MS)
        assert isinstance(call, PartRefused)
        assert call.error.code == "invalid_recipient"
    call = codec().call(push("a", body="x" * 4_090), 0, NOW_MS)
    assert isinstance(call, PartRefused)
    assert call.error.code == "message_too_long"


@pytest.mark.parametrize(
    ("content", "aps", "more", "headers"),
    [
        ({"body": "B", "image": "https://x.example/1"}, {"alert": {"body": "B"}, "mutable-content": 1},
         {"image": "https://x.example/1"}, {"apns-push-type": "alert", "apns-priority": "10"}),
        ({"body": "B", "click_action": "OPEN", "sound": "ping", "priority": "normal"},
         {"alert": {"body": "B"}, "category": "OPEN", "sound": "ping"}, {"click_action": "OPEN"},
         {"apns-push-type": "alert", "apns-priority": "5"}),
        ({"data": {"a": "b"}, "ttl_s": 0}, {"content-available": 1}, {"a": "b"},
         {"apns-push-type": "background", "apns-priority": "5", "apns-expiration": "0"}),
        ({"body": "B", "ttl_s": 60}, {"alert": {"body": "B"}}, {},
         {"apns-push-type": "alert", "apns-priority": "10", "apns-expiration": "1700000060"}),
    ],
)  # fmt: skip
def test_bodies(content: dict[str, Any], aps: dict[str, Any], more: dict[str, Any], headers: dict[str, str]) -> None:
    call = codec().call(push("a", **content), 0, NOW_MS)
    assert isinstance(call, Call)
    assert json.loads(call.body or b"") == {"aps": aps, **more}
    assert {k: v for k, v in call.headers.items() if k not in ("apns-id", "apns-topic")} == headers
    assert call.url == f"https://api.push.apple.com/3/device/{TOKEN}"


def test_provider_tokens_are_renewed_in_time() -> None:
    now_ms = NOW_MS
    tokens = ProviderTokens(signing_key(), KEY_ID, TEAM, lambda: now_ms)
    first = tokens.header()
    now_ms += (RENEW_S - 1) * 1_000
    assert tokens.header() == first
    now_ms += 1_000
    second = tokens.header()
    assert second != first
    assert RENEW_S <= 50 * 60
    assert tokens.replace(first) == second  # somebody else was first
    assert tokens.replace(second) != second
    now_ms -= 86_400_000  # the clock was wrong, and was set
    assert tokens.header() != second
    assert wall_ms() > 0


RSA_PEM = (
    rsa.generate_private_key(65_537, 2_048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"team_id": "x"}, "`team_id`"), ({"key_id": "short"}, "`key_id`"), ({"topic": "a b"}, "`topic`"),
        ({"private_key": "x"}, "`private_key`.*no PEM"), ({"private_key": RSA_PEM}, "`private_key`.*P-256"),
        ({"environment": "test"}, "environment"), ({"base_url": "http://x.example"}, "`base_url` must begin with https"),
        ({"ca_pem": "x"}, "`ca_pem`"), ({"window": 0}, "`window`"), ({"x": 1}, "`x`"),
    ],
)  # fmt: skip
def test_bad_configs(change: dict[str, Any], says: str) -> None:
    good = {"team_id": TEAM, "key_id": KEY_ID, "private_key": pem(signing_key()), "topic": TOPIC}
    check("acme", good)
    check("acme", good | {"environment": "sandbox"})
    with pytest.raises(SettingsError, match=f"acme.*{says}"):
        check("acme", good | change)
