"""The push simulator: FCM's HTTP v1 and Google's token endpoint on loopback, and the devices behind them.

A device whose message has an acknowledgement's token does what an app should: it tells `/v1/push/ack` that it has it.
Tokens: `sandbox-delivered` · `sandbox-unregistered` · `sandbox-throttled` (the first try; then delivered) ·
`sandbox-opened` (delivered, then opened) · `sandbox-silent` (nothing comes back); any other takes delivery.
"""

import asyncio
import json
from collections import deque
from typing import Any, Final

import msgspec
import structlog
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tidings.channels.contract import ProviderSpec
from tidings.domain.push import ACK_KEY
from tidings.kit.clock import Clock, wall_ms
from tidings.kit.outbound import Guard, Outbound
from tidings.sandbox.push_fcm import Answer, Devices, TokenDesk, fcm_error

PROJECT: Final = "sandbox"
EMAIL: Final = "sandbox@sandbox.iam.gserviceaccount.com"
#: What is remembered; the oldest is forgotten first.
MESSAGES: Final = 10_000
#: Acknowledgements under way. More are dropped: it is a simulator.
ACKS: Final = 10_000
ACK_TRIES: Final = 5
ACK_PAUSE_S: Final = 0.2
_log = structlog.get_logger("tidings.sandbox.push")


class SandboxPush:
    """Start it, then send with `spec()`; `messages` shows what was taken."""

    def __init__(
        self, *, receipt_delay_s: float = 0.05, clock: Clock = wall_ms, key: rsa.RSAPrivateKey | None = None
    ) -> None:
        self.port = 0
        self.messages: deque[dict[str, Any]] = deque(maxlen=MESSAGES)
        self.requests = 0
        self._receipt_delay_s, self._clock = receipt_delay_s, clock
        self._key = key or rsa.generate_private_key(65_537, 2_048)
        self._devices = Devices()
        self._answers: deque[Answer] = deque()
        self._public_url = ""
        self._runner: web.AppRunner | None = None
        self._outbound: Outbound | None = None
        self._acks: set[asyncio.Task[None]] = set()
        self.desk = TokenDesk(EMAIL, self._key.public_key(), "")

    async def start(self) -> None:
        """Listens on a port of its own."""
        app = web.Application(client_max_size=1 << 20)
        app.router.add_post("/token", self._token)
        app.router.add_post(f"/v1/projects/{PROJECT}/messages:send", self._send)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = int(self._runner.addresses[0][1])
        self.desk.uri = f"{self.url}/token"
        self._outbound = Outbound(Guard(allow=("127.0.0.0/8",)), timeout_s=5)

    async def stop(self) -> None:
        """Closes everything; acknowledgements that wait are dropped."""
        for task in list(self._acks):
            task.cancel()
        await asyncio.gather(*self._acks, return_exceptions=True)
        if self._outbound is not None:
            await self._outbound.close()
        if self._runner is not None:
            await self._runner.cleanup()

    @property
    def url(self) -> str:
        """Where the simulated FCM is."""
        return f"http://127.0.0.1:{self.port}"

    def spec(self, public_url: str) -> ProviderSpec:
        """The provider that sends to it; its devices acknowledge to `public_url`."""
        self._public_url = public_url.rstrip("/")
        return ProviderSpec(name="sandbox-push", type="push.fcm", config=self.config(), origin="sandbox")

    def config(self) -> dict[str, Any]:
        """The configuration of a provider that sends to it."""
        pem = self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        key = {"project_id": PROJECT, "client_email": EMAIL, "private_key": pem, "private_key_id": "sandbox"}
        key["token_uri"] = f"{self.url}/token"
        return {"service_account_key": json.dumps(key), "base_url": self.url, "allow_networks": ["127.0.0.0/8"]}

    def answer_next(self, *answers: Answer) -> None:
        """The next messages are answered so, in order."""
        self._answers.extend(answers)

    async def _token(self, request: web.Request) -> web.Response:
        return _response(self.desk.give(await request.text(), self._clock() // 1_000))

    async def _send(self, request: web.Request) -> web.Response:
        body = await request.read()
        if not self.desk.takes(request.headers.get("Authorization", ""), self._clock() // 1_000):
            return _response(fcm_error(401, "UNAUTHENTICATED", "", "Request had invalid authentication credentials."))
        self.requests += 1
        answer = self._answers.popleft() if self._answers else self._devices.send(body)
        if answer.status != 200:
            return _response(answer)
        self.messages.append(msgspec.json.decode(body)["message"])
        name = f"projects/{PROJECT}/messages/0:{self._clock()}%{self.requests:016x}"
        self._acknowledge(answer)
        return web.json_response({"name": name})

    def _acknowledge(self, answer: Answer) -> None:
        token = answer.data.get(ACK_KEY)
        if (
            token is None
            or not self._public_url
            or answer.token.startswith("sandbox-silent")
            or len(self._acks) >= ACKS
        ):
            return
        events = ("delivered", "opened") if answer.token.startswith("sandbox-opened") else ("delivered",)
        task = asyncio.get_running_loop().create_task(self._tell(token, events), name="sandbox-push-ack")
        self._acks.add(task)
        task.add_done_callback(self._acks.discard)

    async def _tell(self, token: str, events: tuple[str, ...]) -> None:
        """As an app would: again, if the server could not take it."""
        assert self._outbound is not None
        for event in events:
            await asyncio.sleep(self._receipt_delay_s)
            body = msgspec.json.encode({"token": token, "event": event})
            for _ in range(ACK_TRIES):
                said = await self._outbound.post(
                    f"{self._public_url}/v1/push/ack", {"Content-Type": "application/json"}, body
                )
                if said.ok or (said.status is not None and 400 <= said.status < 500 and said.status != 429):
                    break
                await asyncio.sleep(ACK_PAUSE_S)
            else:
                _log.info("ack_dropped", reason=said.error or said.status)  # pyright: ignore[reportPossiblyUnboundVariable]


def _response(answer: Answer) -> web.Response:
    return web.json_response(answer.body, status=answer.status, headers=answer.headers)
