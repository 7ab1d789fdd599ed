"""Carriers of other channels than SMS that are described by configuration, and one of the long tail, for the conformance cases."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from aiohttp import web

from peers.http_carriers import FAST, FORM, NEVER_ANSWERS, FormCarrier, HttpCarrier, served
from tidings.channels.contract import Provider
from tidings.domain.attempt import Submission
from tidings.domain.channel import CHANNELS

SECRET = "s3cr3t"
CONTENT: dict[str, dict[str, Any] | None] = {"email": {"subject": "Hi"}, "push": {"title": "Hi"}, "whatsapp": None}
ADDRESSES: dict[str, tuple[str, str, str]] = {  # takes, never answers, a person who writes
    "email": ("ada@example.com", "5550009@example.com", "zoe@example.com"),
    "push": ("token-1", "token-5550009", "token-7"),
    "whatsapp": ("+15005550001", "+15005550009", "+15005550007"),
    "other": ("ops", "never", ""),
}


def said(channel: str, name: str, to: str, text: str, **more: Any) -> Submission:
    """A submission of the channel."""
    read = CHANNELS[channel].read
    assert read is not None
    more.pop("concat_ref", None)
    lane = more.pop("lane", "transactional")
    return Submission(
        attempt_id=name, message_id=f"msg_{name}", lane=lane, to=to, sender=None, channel=channel,
        content=read(CONTENT.get(channel), text), **more,
    )  # fmt: skip


class DescribedCarrier(FormCarrier):
    """The plain aggregator as a carrier of another channel."""

    def __init__(self, channel: str) -> None:
        super().__init__()
        self._channel = channel
        self.takes, self.never, self.person = ADDRESSES[channel]

    def submission(self, provider: Provider, name: str, to: str, text: str = "Hello", **more: Any) -> Submission:
        """See `said`."""
        return said(self._channel, name, to, text, **more)


def described(channel: str) -> Callable[[], AbstractAsyncContextManager[DescribedCarrier]]:
    """The carrier of `<channel>.http` on an ephemeral port, with the config of a provider that calls it."""

    @asynccontextmanager
    async def made() -> AsyncIterator[DescribedCarrier]:
        carrier = DescribedCarrier(channel)
        form = {"to": "{to_digits}", "text": "{text}", "from": "us"}
        async with served(carrier) as url:
            carrier.config = {**FORM, **FAST, "request": {"url": f"{url}/send", "form": form}}
            yield carrier

    return made


class Hook(HttpCarrier):
    """A service that takes notes as JSON; the target `never` leads to where no answer comes from."""

    takes, never, secret, isolated = ADDRESSES["other"][0], ADDRESSES["other"][1], SECRET, True

    def submission(self, provider: Provider, name: str, to: str, text: str = "Hello", **more: Any) -> Submission:
        """See `said`."""
        return said("other", name, to, text, **more)

    def refuse_next(self) -> None:
        self.answer_next(400, "no")

    def fail_next(self) -> None:
        self.answer_next(500, "no")

    def accept(self, request: web.Request, body: bytes) -> web.Response:
        return web.Response(text="ok")


@asynccontextmanager
async def hook_carrier() -> AsyncIterator[Hook]:
    """It, with the config of a provider `other.apprise` that calls it."""
    carrier = Hook()
    async with served(carrier) as url:
        port = url.rpartition(":")[2]
        hook = f"json://127.0.0.1:{port}/{SECRET}"
        targets = {"ops": hook, "never": f"{hook}?:to={NEVER_ANSWERS}"}
        carrier.config = {"targets": targets, "window": 64, "response_timeout_s": 1}
        yield carrier
