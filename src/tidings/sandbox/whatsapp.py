"""The WhatsApp simulator: Meta's Cloud API on loopback, and the people behind the sandbox recipients.

It takes messages, files and read marks, lists templates, and calls back signed as Meta does; a call that is not answered
with 2xx is made again. `0001` to `0009` count as having just written; `0010` has never written, so that only templates
reach it. Source: api.md "Sandbox recipients"
"""

import asyncio
import secrets
from collections import OrderedDict, deque
from hashlib import sha256
from typing import Any, Final

import structlog
from aiohttp import web

from tidings.channels.contract import ProviderSpec
from tidings.kit.clock import Clock, wall_ms
from tidings.kit.limits import WHATSAPP_MEDIA_BYTES, WHATSAPP_WINDOW_S
from tidings.kit.outbound import Guard, Outbound
from tidings.sandbox import whatsapp_meta as meta
from tidings.sandbox.recipients import BEHAVIOURS, PREFIX, Behaviour, behaviour_of

#: Who counts as having just written.
OPEN: Final = tuple(f"+{PREFIX}{last}" for last in sorted(BEHAVIOURS))
#: What is remembered; the oldest is forgotten first.
MESSAGES: Final = 10_000
FILES: Final = 32
#: Calls under way. More are dropped: it is a simulator.
CALLS: Final = 50_000
CALL_TRIES: Final = 8
CALL_PAUSE_S: Final = 0.1
_log = structlog.get_logger("tidings.sandbox.whatsapp")


class SandboxWhatsApp:
    """Start it, then send with `spec()`; `messages` shows what was taken, `marks` which messages we read."""

    def __init__(self, *, receipt_delay_s: float = 0.05, clock: Clock = wall_ms) -> None:
        self.port = 0
        self.messages: deque[dict[str, Any]] = deque(maxlen=MESSAGES)
        self.marks: deque[str] = deque(maxlen=MESSAGES)
        self.requests = 0
        self._receipt_delay_s, self._clock = receipt_delay_s, clock
        self._token, self._secret, self._verify = (secrets.token_hex(16) for _ in range(3))
        self._files: OrderedDict[str, tuple[str, bytes]] = OrderedDict()
        self._failed_once: OrderedDict[str, None] = OrderedDict()
        self._wrote: OrderedDict[str, int] = OrderedDict()
        self._answers: deque[tuple[int, dict[str, Any]]] = deque()
        self._public_url = ""
        self._run = secrets.token_hex(4)  # ids of two runs never meet
        self._count = 0
        self._runner: web.AppRunner | None = None
        self._outbound: Outbound | None = None
        self._calls: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listens on a port of its own."""
        app = web.Application(client_max_size=WHATSAPP_MEDIA_BYTES + 65_536, middlewares=[self._authorised])
        base = f"/v23.0/{meta.NUMBER_ID}"
        app.router.add_post(f"{base}/messages", self._message)
        app.router.add_post(f"{base}/media", self._upload)
        app.router.add_get(f"/v23.0/{meta.ACCOUNT_ID}/message_templates", self._templates)
        app.router.add_get("/files/{id}", self._file)
        app.router.add_get("/v23.0/{id}", self._media)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        self.port = int(self._runner.addresses[0][1])
        self._outbound = Outbound(Guard(allow=("127.0.0.0/8",)), timeout_s=5)

    async def stop(self) -> None:
        """Closes everything; calls that wait are dropped."""
        for task in list(self._calls):
            task.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)
        if self._outbound is not None:
            await self._outbound.close()
        if self._runner is not None:
            await self._runner.cleanup()

    @property
    def url(self) -> str:
        """Where the simulated API is."""
        return f"http://127.0.0.1:{self.port}"

    def spec(self, public_url: str) -> ProviderSpec:
        """The provider that sends to it and is called at `public_url`."""
        self._public_url = f"{public_url.rstrip('/')}/callbacks/sandbox-whatsapp"
        return ProviderSpec(name="sandbox-whatsapp", type="whatsapp.cloud_api", config=self.config(), origin="sandbox")

    def config(self) -> dict[str, Any]:
        """The configuration of a provider that sends to it."""
        return {
            "phone_number_id": meta.NUMBER_ID, "phone_number": meta.NUMBER, "business_account_id": meta.ACCOUNT_ID,
            "access_token": self._token, "app_secret": self._secret, "verify_token": self._verify, "base_url": self.url,
            "window_open_for": list(OPEN), "response_timeout_s": 3, "allow_networks": ["127.0.0.0/8"],
        }  # fmt: skip

    def answer_next(self, code: int, times: int = 1) -> None:
        """The next messages are answered with this error of Meta's."""
        self._answers.extend([meta.error(code)] * times)

    def inject(self, from_: str, text: str) -> str:
        """A person writes; the id of what they wrote."""
        return self._say(from_, "text", {"body": text})

    def inject_file(self, from_: str, kind: str, media_type: str, data: bytes, caption: str = "") -> str:
        """A person sends a file."""
        media = self._keep(media_type, data)
        part = {"id": media, "mime_type": media_type, "sha256": sha256(data).hexdigest()}
        return self._say(from_, kind, {**part, "caption": caption} if caption else part)

    # -- the API

    @web.middleware
    async def _authorised(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.requests += 1
        if not secrets.compare_digest(request.headers.get("Authorization", ""), f"Bearer {self._token}"):
            return _answer(meta.error(190))
        return await handler(request)

    async def _message(self, request: web.Request) -> web.Response:
        body = await request.read()
        message = meta.read(body)
        if message is None:
            return self._mark(body)
        if self._answers:
            return _answer(self._answers.popleft())
        behaviour = behaviour_of(message.to)
        if behaviour.answer == "never":
            await asyncio.Event().wait()
        if behaviour.answer == "first_fails" and self._first(message.to, body):
            return _answer(meta.error(131000))
        if message.type == "template":
            try:
                refused = meta.template_error(message.body["template"])
            except (TypeError, KeyError, AttributeError):
                refused = (131008, "template needs name and language")
            if refused is not None:
                return _answer(meta.error(*refused))
        elif not self._inside(message.to):
            return _answer(meta.error(131047))
        ref = self._ref()
        self.messages.append({**message.body, "id": ref})
        self._call(self._tell(message, ref, behaviour))
        return web.json_response(meta.taken(message.to, ref))

    def _mark(self, body: bytes) -> web.Response:
        found = meta.read_mark_of(body)
        if found is None:
            return _answer(meta.error(100, "the body is neither a message nor a read mark"))
        self.marks.append(found)
        return web.json_response({"success": True})

    async def _templates(self, _: web.Request) -> web.Response:
        return web.json_response(meta.templates())

    async def _upload(self, request: web.Request) -> web.Response:
        form = await request.post()
        file = form.get("file")
        if form.get("messaging_product") != "whatsapp" or not isinstance(file, web.FileField):
            return _answer(meta.error(100, "file and messaging_product are needed"))
        return web.json_response({"id": self._keep(file.content_type, file.file.read())})

    async def _media(self, request: web.Request) -> web.Response:
        found = self._files.get(request.match_info["id"])
        if found is None:
            return _answer(meta.error(33))
        kind, data = found
        fields = {"id": request.match_info["id"], "mime_type": kind, "file_size": str(len(data))}
        fields |= {"messaging_product": "whatsapp", "sha256": sha256(data).hexdigest()}
        return web.json_response({**fields, "url": f"{self.url}/files/{fields['id']}"})

    async def _file(self, request: web.Request) -> web.Response:
        found = self._files.get(request.match_info["id"])
        return web.Response(body=found[1], content_type=found[0]) if found is not None else web.Response(status=404)

    # -- the people

    def _first(self, to: str, body: bytes) -> bool:
        """Whether this message comes for the first time: the second try succeeds."""
        key = sha256(to.encode() + meta.without_reference(body)).hexdigest()
        if key in self._failed_once:
            del self._failed_once[key]
            return False
        _remember(self._failed_once, key, None, MESSAGES)
        return True

    def _inside(self, to: str) -> bool:
        wrote = self._wrote.get(to.lstrip("+"))
        return to in OPEN or (wrote is not None and self._clock() - wrote < WHATSAPP_WINDOW_S * 1_000)

    async def _tell(self, message: meta.Message, ref: str, behaviour: Behaviour) -> None:
        """What becomes of a message that was taken."""
        delay_s = self._receipt_delay_s if behaviour.delay_s is None else behaviour.delay_s
        await self._post(meta.status(ref, "sent", message.to, self._clock(), **message.callback_data))
        if behaviour.receipt is not None:
            await asyncio.sleep(delay_s)
            bad = behaviour.receipt != "delivered"
            more = {**message.callback_data, **(meta.failure(131026) if bad else {})}
            await self._post(meta.status(ref, "failed" if bad else "delivered", message.to, self._clock(), **more))
        if behaviour.read:
            await asyncio.sleep(delay_s)
            await self._post(meta.status(ref, "read", message.to, self._clock(), **message.callback_data))
        if behaviour.reply is not None:
            context = {"from": meta.NUMBER.lstrip("+"), "id": ref}
            self._say(message.to, "text", {"body": behaviour.reply}, context=context)

    def _say(self, from_: str, kind: str, part: Any, **more: Any) -> str:
        wa_id, ref = from_.lstrip("+"), self._ref()
        _remember(self._wrote, wa_id, self._clock(), MESSAGES)
        self._call(self._post(meta.said(ref, wa_id, self._clock(), kind, part, **more)))
        return ref

    def _keep(self, media_type: str, data: bytes) -> str:
        self._count += 1
        media = f"{int(self._run, 16):010d}{self._count:06d}"
        _remember(self._files, media, (media_type, data), FILES)
        return media

    def _ref(self) -> str:
        self._count += 1
        return f"wamid.sandbox.{self._run}.{self._count}"

    # -- the callbacks

    def _call(self, work: Any) -> None:
        if len(self._calls) >= CALLS:
            work.close()
            return
        task = asyncio.get_running_loop().create_task(work, name="sandbox-whatsapp")
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)

    async def _post(self, value: dict[str, Any]) -> None:
        """As Meta does: again, if it was not taken."""
        if not self._public_url or self._outbound is None:
            return
        body = meta.call(value)
        headers = {"Content-Type": "application/json", "X-Hub-Signature-256": meta.signature(body, self._secret)}
        pause_s = CALL_PAUSE_S
        for _ in range(CALL_TRIES):
            if (await self._outbound.post(self._public_url, headers, body)).ok:
                return
            await asyncio.sleep(pause_s)
            pause_s *= 2
        _log.info("call_dropped")


def _remember(store: OrderedDict[str, Any], key: str, value: object, most: int) -> None:
    store[key] = value
    while len(store) > most:
        store.popitem(last=False)


def _answer(made: tuple[int, dict[str, Any]]) -> web.Response:
    return web.json_response(made[1], status=made[0])
