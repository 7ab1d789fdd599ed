"""The demo's webhook receiver: verifies every call, and remembers what it said."""

import time

from aiohttp import web

from tidings_client import Event, WebhookVerificationError, verify_webhook


class Receiver:
    """Listens on a free port of this machine. `events` holds (event, seconds since its timestamp was reached)."""

    def __init__(self) -> None:
        self.secret = ""
        self.events: list[Event] = []
        self.arrived: list[float] = []
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

    def of(self, message: str) -> list[Event]:
        """The verified calls about one message."""
        return [event for event in self.events if event.data.get("id") == message]

    async def _call(self, request: web.Request) -> web.Response:
        body = await request.read()
        try:
            event = verify_webhook(body, dict(request.headers), self.secret)
        except WebhookVerificationError as error:
            self.refused += 1
            return web.Response(status=400, text=str(error))
        self.events.append(event)
        self.arrived.append(time.time())
        return web.Response(status=204)
