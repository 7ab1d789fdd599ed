"""Provider `push.fcm` against the simulator: tokens, devices, credentials, and what becomes of each message."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from peers.carriers import RecordingSink, until
from tidings.channels.contract import ProviderSpec
from tidings.channels.push.fcm import FcmProvider, check
from tidings.domain.attempt import PartRefused, PartRetry, PartSent, Submission
from tidings.domain.errors import SettingsError
from tidings.domain.push import PushContent
from tidings.sandbox.push import SandboxPush
from tidings.sandbox.push_fcm import fcm_error, throttled

KEY = rsa.generate_private_key(65_537, 2_048)
FAST = {"reconnect_min_s": 0.02, "reconnect_max_s": 0.1, "response_timeout_s": 5.0, "requeue_s": 0.3}


@asynccontextmanager
async def sending(**more: Any) -> AsyncIterator[tuple[SandboxPush, FcmProvider, RecordingSink]]:
    """The simulator, and a provider that sends to it."""
    sandbox, sink = SandboxPush(receipt_delay_s=0.01, key=KEY), RecordingSink()
    await sandbox.start()
    spec = ProviderSpec(name="acme", type="push.fcm", config=sandbox.config() | FAST | more)
    provider = FcmProvider(spec, sink)
    await provider.start()
    try:
        yield sandbox, provider, sink
    finally:
        await provider.stop(0)
        await sandbox.stop()


def push(name: str, *tokens: str, **content: Any) -> Submission:
    return Submission(
        attempt_id=name, message_id=f"msg_{name}", lane="transactional", to=tokens[0], sender=None, channel="push",
        content=PushContent(**content or {"body": "Hi"}), parts=(b"",) * len(tokens), each=tokens if len(tokens) > 1 else (),
    )  # fmt: skip


async def test_sent() -> None:
    async with sending() as (sandbox, provider, sink):
        provider.submit([push(f"a{n}", "sandbox-delivered") for n in range(20)])
        await until(lambda: len(sink.done) == 20)
        refs = {part.ref for n in range(20) for part in sink.outcome(f"a{n}") if isinstance(part, PartSent)}
        assert len(refs) == 20
        assert sandbox.desk.given == 1
        assert sandbox.messages[0]["notification"] == {"body": "Hi"}


async def test_one_device_of_several_is_gone() -> None:
    async with sending(window=1) as (sandbox, provider, sink):  # one after the other: none may stop those that follow
        provider.submit([push("a", "one", "sandbox-unregistered", "two", "sandbox-invalid", "three")])
        await until(lambda: sink.done)
        parts = sink.outcome("a")
        assert [type(part) for part in parts] == [PartSent, PartRefused, PartSent, PartRefused, PartSent]
        assert [part.suppress for part in parts if isinstance(part, PartRefused)] == ["unregistered", "invalid"]
        assert [message["token"] for message in sandbox.messages] == ["one", "two", "three"]


async def test_a_device_that_had_enough_does_not_stop_the_others() -> None:
    async with sending() as (_, provider, sink):
        provider.submit([push("a", "sandbox-throttled"), push("b", "sandbox-delivered")])
        await until(lambda: len(sink.done) == 2)
        (first,) = sink.outcome("a")
        assert isinstance(first, PartRetry)
        assert (first.error.code, first.after_s) == ("throttled", 1.0)
        assert isinstance(sink.outcome("b")[0], PartSent)


async def test_the_projects_quota_is_waited_for() -> None:
    async with sending() as (sandbox, provider, sink):
        sandbox.answer_next(throttled("project:sandbox", 0))
        provider.submit([push("a", "sandbox-delivered")])
        await until(lambda: sink.done)
        assert isinstance(sink.outcome("a")[0], PartSent)
        assert sandbox.requests == 2


async def test_a_token_that_was_revoked_is_renewed_under_way() -> None:
    async with sending() as (sandbox, provider, sink):
        for name in ("a", "b"):
            provider.submit([push(name, "sandbox-delivered")])
            await until(lambda: sink.done and sink.done[-1].attempt_id == name)  # noqa: B023
            assert isinstance(sink.outcome(name)[0], PartSent)
            sandbox.desk.revoke()
        assert sandbox.desk.given == 2


async def test_credentials_that_are_refused_stop_the_provider() -> None:
    async with sending() as (sandbox, provider, sink):
        sandbox.desk.email = "somebody@else.example"
        provider.submit([push("a", "sandbox-delivered")])
        await until(lambda: sink.done)
        (part,) = sink.outcome("a")
        assert isinstance(part, PartRetry)
        assert part.error.code == "bad_credentials"
        assert part.error.provider_code == "invalid_grant"
        assert [link.state for link in provider.links()] == ["auth_failed"]
        assert provider.credit("otp") == 0
        assert sandbox.requests == 0


async def test_the_project_forbids() -> None:
    async with sending() as (sandbox, provider, sink):
        sandbox.answer_next(fcm_error(403, "PERMISSION_DENIED", "", "no"))
        provider.submit([push("a", "sandbox-delivered")])
        await until(lambda: sink.done)
        assert [link.state for link in provider.links()] == ["auth_failed"]


async def test_another_project_is_not_found() -> None:
    async with sending(project_id="other") as (_, provider, sink):
        provider.submit([push("a", "sandbox-delivered")])
        await until(lambda: sink.done)
        assert [link.state for link in provider.links()] == ["auth_failed"]
        assert isinstance(sink.outcome("a")[0], PartRetry)


async def test_nobody_listens() -> None:
    async with sending() as (sandbox, provider, sink):
        await sandbox.stop()
        provider.submit([push("a", "sandbox-delivered")])
        await until(lambda: sink.done)
        (part,) = sink.outcome("a")
        assert isinstance(part, PartRetry)
        assert part.error.code == "no_link"


def config_of() -> dict[str, Any]:
    sandbox = SandboxPush(key=KEY)
    sandbox.port = 4_711
    return sandbox.config()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"service_account_key": "{"}, r"`service_account_key`.*is not JSON"),
        ({"service_account_key": {"project_id": "a"}}, r"`service_account_key`.*client_email"),
        ({"service_account_key": 7}, "service_account_key"),
        ({"service_account_key": "7"}, r"`service_account_key`.*Expected `object`"),
        ({"project_id": "Not A Project"}, "`project_id`"),
        ({"base_url": "http://fcm.example.com", "allow_networks": []}, "`base_url` must begin with https"),
        ({"window": 0}, "`window` must be from 1"),
        ({"no_such": 1}, "no_such"),
    ],
)
def test_bad_configs(change: dict[str, Any], says: str) -> None:
    config = config_of() | change
    with pytest.raises(SettingsError, match=f"(?s)acme.*{says}"):
        check("acme", config)


def test_the_token_endpoint_must_be_https() -> None:
    config = config_of() | {"base_url": "https://fcm.example.com", "allow_networks": []}
    with pytest.raises(SettingsError, match="token_uri` must begin with https"):
        check("acme", config)
