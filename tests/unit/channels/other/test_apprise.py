"""Provider `other.apprise`: Apprise's own plug-in for JSON web hooks says it to a server on loopback."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from peers.carriers import RecordingSink, until
from tidings.channels import registry
from tidings.channels.contract import Facts, ProviderSpec
from tidings.channels.other.apprise import AppriseProvider, check
from tidings.domain.attempt import PartRetry, PartSent, PartUnknown, Submission
from tidings.domain.errors import SettingsError
from tidings.domain.other import OtherContent, problems, read

SECRET = "s3cr3t-hook"
#: One of Apprise's hundred plug-ins imports it when they are looked through.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")


class Hook:
    """A service that takes notes. `status` is what it answers; while `held` it does not."""

    def __init__(self) -> None:
        self.notes: list[dict[str, Any]] = []
        self.status = 200
        self.held = asyncio.Event()
        self.held.set()
        self.port = 0

    async def take(self, request: web.Request) -> web.Response:
        self.notes.append(await request.json())
        await self.held.wait()
        return web.Response(status=self.status)


@asynccontextmanager
async def running(**more: Any) -> AsyncIterator[tuple[AppriseProvider, Hook, RecordingSink]]:
    hook, sink = Hook(), RecordingSink()
    app = web.Application()
    app.router.add_post(f"/{SECRET}", hook.take)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    hook.port = runner.addresses[0][1]
    config = {"targets": {"ops": f"json://127.0.0.1:{hook.port}/{SECRET}"}} | more
    provider = AppriseProvider(ProviderSpec(name="alerts", type="other.apprise", config=config), sink)
    await provider.start()
    try:
        yield provider, hook, sink
    finally:
        await provider.stop(0)
        hook.held.set()
        await runner.cleanup()


def note(name: str = "att_1", to: str = "ops", **content: Any) -> Submission:
    said = OtherContent(**({"text": "disk full", "title": "db1"} | content))
    return Submission(
        attempt_id=name, message_id="msg_1", lane="transactional", to=to, sender=None, channel="other", content=said
    )


async def test_a_note_goes_out() -> None:
    async with running() as (provider, hook, sink):
        assert provider.credit("otp") == 4
        provider.submit([note()])
        assert provider.credit("otp") == 3
        await until(lambda: sink.done)
        assert (sink.done[0].attempt_id, sink.done[0].parts) == ("att_1", (PartSent("att_1"),))
        assert (hook.notes[0]["title"], hook.notes[0]["message"]) == ("db1", "disk full")
        await until(lambda: sink.readies)


async def test_what_is_refused_is_tried_again() -> None:
    async with running() as (provider, hook, sink):
        hook.status = 500
        provider.submit([note()])
        await until(lambda: sink.done)
        part = sink.done[0].parts[0]
        assert isinstance(part, PartRetry)
        assert part.error.code == "not_sent"
        assert SECRET not in repr(part)


async def test_silence_is_unknown_and_so_is_a_stop() -> None:
    async with running(response_timeout_s=1, window=2) as (provider, hook, sink):
        hook.held.clear()
        provider.submit([note("att_1")])
        await until(lambda: sink.done)
        assert sink.done[0].parts == (PartUnknown("no_answer"),)
        provider.submit([note("att_2")])
        await until(lambda: len(hook.notes) == 2)
        await provider.stop(0)
        assert sink.done[1].parts == (PartUnknown("stopped"),)
        assert provider.credit("otp") == 0


async def test_a_target_that_is_not_there_is_refused_before_the_wire() -> None:
    async with running() as (provider, _, _sink):
        facts = Facts(now_ms=0)
        assert provider.refuses("ops", None, OtherContent(text="x"), facts) is None
        error = provider.refuses("dev", None, OtherContent(text="x"), facts)
        assert error is not None
        assert (error.code, "there are: ops" in error.detail, SECRET in error.detail) == ("unknown_target", True, False)


BAD: list[tuple[dict[str, Any], str]] = [
    ({"targets": {}}, "targets"), ({"targets": {"ops": "nothing://x"}}, "targets.ops"), ({}, "targets"),
    ({"targets": {"Ops!": "json://localhost"}}, "targets.Ops!"), ({"targets": {"ops": 1}}, "targets"),
    ({"targets": {"ops": "json://localhost"}, "window": 0}, "window"),
    ({"targets": {"ops": "json://localhost"}, "response_timeout_s": 60}, "response_timeout_s"),
    ({"targets": {"ops": "json://localhost"}, "other": 1}, "other"),
]  # fmt: skip


@pytest.mark.parametrize(("config", "key"), BAD)
def test_bad_configurations_name_the_key(config: dict[str, Any], key: str) -> None:
    with pytest.raises(SettingsError, match=key):
        check("alerts", config)


def test_only_the_operator_names_targets() -> None:
    config = {"targets": {"ops": "json://10.0.0.1/x"}}
    with pytest.raises(SettingsError, match="only be set by the operator"):
        registry.check(ProviderSpec(name="a", type="other.apprise", config=config, origin="api"))


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(SettingsError, match=r"tidings\[reach\]"):
        check("alerts", {"targets": {"ops": "json://localhost"}})


def test_contents() -> None:
    assert read({"title": "t"}, "x") == OtherContent(title="t", text="x")
    for content, text, pointer in [
        ({}, None, "/text"), ({"title": ""}, "x", "/content/title"), ({"title": "x" * 251}, "x", "/content/title"),
        ({"format": "rtf"}, "x", "/content/format"), ({"body": "x"}, "x", "/content"),
    ]:  # fmt: skip
        assert [error.pointer for error in problems(content, text)] == [pointer], content
    assert problems({"format": "markdown"}, "x") == []
