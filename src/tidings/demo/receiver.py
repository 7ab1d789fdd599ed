"""The demo's webhook receiver: verifies every call, and remembers what it said."""

import time

import msgspec
from aiohttp import web

from tidings_client import Event, WebhookVerificationError, verify_webhook


class VerifiedCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call whose signature is right. `latency_ms` is from the event's timestamp to here."""

    event: Event
    latency_ms: float


class Receiver:
    """Listens on a free port of this machine. `refused` counts the calls that do not verify."""

    def __init__(self) -> None:
        self.secret = ""
        self.calls: list[VerifiedCall] = []
        self.refused = 0
        self._runner: web.AppRunner | None = None

    async def start(self) -> str:
        """The URL."""
        app = web.Application()
        app.router.add_post("/hook", self._call)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}/hook"

    async def stop(self) -> None:
        """Closes it."""
        if self._runner is not None:
            await self._runner.cleanup()

    def of(self, message: str) -> dict[str, VerifiedCall]:
        """The verified calls about one message, by type of event; the first of each."""
        found: dict[str, VerifiedCall] = {}
        for call in self.calls:
            if call.event.data.get("id") == message:
                found.setdefault(call.event.type, call)
        return found

    def reply_to(self, message: str) -> VerifiedCall | None:
        """The verified call that brought what the person wrote back."""
        for call in self.calls:
            if call.event.type == "message.received" and call.event.data.get("in_reply_to") == message:
                return call
        return None

    async def _call(self, request: web.Request) -> web.Response:
        body = await request.read()
        try:
            event = verify_webhook(body, dict(request.headers), self.secret)
        except WebhookVerificationError as error:
            self.refused += 1
            return web.Response(status=400, text=str(error))
        self.calls.append(VerifiedCall(event=event, latency_ms=(time.time() - event.timestamp.timestamp()) * 1000))
        return web.Response(status=204)
