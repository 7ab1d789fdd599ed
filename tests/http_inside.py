"""The whole application within the test's own process: for tests that patch a protection out, or compare two of it."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn

from tidings.channels.contract import ProviderSpec
from tidings.delivery.node import Node
from tidings.domain.verification import Worth
from tidings.http.app import Server, create_app
from tidings.http.auth import first_keys
from tidings.http.services import Services
from tidings.http.wire import PatientProtocol
from tidings.kit.clock import wall_ms
from tidings.kit.limits import SEND_BUFFER_BYTES
from tidings.kit.secrets import KeyRing
from tidings.sandbox.sms import SandboxSmsc
from tidings.store.sqlite.engine import Engine
from tidings.store.sqlite.migrate import migrate
from tidings.store.store import Store
from tidings.verify.service import VerifyService
from tidings.webhooks.service import WebhookService

LOGIN = "sandbox"


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Inside:
    """The application, its services, and the keys of the first project."""

    services: Services
    app: Server
    live_key: str
    test_key: str

    async def call(
        self, method: str, path: str, body: Any = None, *, key: str | None = None, headers: dict[str, str] | None = None,
        app: Any = None, patience_s: float = 30.0,
    ) -> Answer:  # fmt: skip
        """One request, as ASGI. A stream is read for `patience_s` from its beginning, then the caller goes away."""
        raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        sent = {"content-type": "application/json", "content-length": str(len(raw))} if raw else {}
        if key is not None:
            sent["authorization"] = f"Bearer {key}"
        sent |= {name.lower(): value for name, value in (headers or {}).items()}
        target, _, query = path.partition("?")
        scope: dict[str, Any] = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "path": target,
            "raw_path": target.encode(), "query_string": query.encode(), "root_path": "", "scheme": "http",
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in sent.items()],
            "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80), "state": {},
        }  # fmt: skip
        return await _exchange(app or self.app, scope, raw, patience_s)


async def _exchange(app: Any, scope: dict[str, Any], raw: bytes, patience_s: float) -> Answer:
    gone, begun = asyncio.Event(), asyncio.Event()
    pending = [{"type": "http.request", "body": raw, "more_body": False}]
    messages: list[Any] = []

    async def receive() -> Any:
        if pending:
            return pending.pop()
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        messages.append(message)
        begun.set()
        if message["type"] == "http.response.body" and not message.get("more_body"):
            gone.set()  # as uvicorn has it

    task = asyncio.create_task(app(scope, receive, send))
    task.add_done_callback(lambda _: begun.set())
    await asyncio.wait_for(begun.wait(), 30)
    done, _ = await asyncio.wait([task], timeout=patience_s)
    if not done:
        gone.set()
        await asyncio.wait_for(task, 30)
    task.result()
    start = messages[0]
    headers = {name.decode().lower(): value.decode("latin-1") for name, value in start["headers"]}
    return Answer(start["status"], headers, b"".join(message.get("body", b"") for message in messages[1:]))


@asynccontextmanager
async def inside(folder: Path) -> AsyncIterator[Inside]:
    """Everything but the socket: store, delivery with the sandbox carrier, webhooks, application."""
    engine = Engine(folder / "tidings.db")
    engine.open()
    migrate(engine.writer)
    engine.start()
    ring = KeyRing.load(folder / "keys.json")
    store = Store(engine)
    keys = await first_keys(store, None, wall_ms())
    sandbox = SandboxSmsc(system_id=LOGIN, password=LOGIN, receipt_delay_s=0.01)
    await sandbox.start()
    config = {"host": "127.0.0.1", "port": sandbox.port, "system_id": LOGIN, "password": LOGIN}
    node = Node(store, ring)
    webhooks = WebhookService(store, ring, node.bus, wall_ms, True, ())
    try:
        await node.start([ProviderSpec(name="sandbox", type="sms.smpp", config=config, origin="sandbox")])
        await webhooks.start()
        services = Services(
            store=store, ring=ring, bus=node.bus, acceptor=node.acceptor, control=node.control,
            providers=node.providers, routes=node.routes, webhooks=webhooks, callbacks=node,
            verify=VerifyService(store, ring, node.acceptor, node.bus, wall_ms, Worth()),
        )  # fmt: skip
        yield Inside(services, create_app(services), keys[0], keys[1])
    finally:
        await node.stop(1.0)
        await webhooks.stop()
        await sandbox.stop()
        engine.close()


class Wire:
    """A real connection for each call to an application that uvicorn serves on `port`."""

    def __init__(self, port: int) -> None:
        self.port = port

    def request(self, method: str, path: str, body: Any, headers: dict[str, str]) -> bytes:
        """One request as it is written."""
        raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        sent = {"Host": "x", "Content-Type": "application/json", "Content-Length": str(len(raw)), **headers}
        head = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
        return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + raw

    async def post(self, path: str, body: Any, headers: dict[str, str], pieces: int = 1) -> Answer:
        """One POST: whole, or its head and its body apart."""
        whole = self.request("POST", path, body, headers)
        cut = whole.index(b"\r\n\r\n") + 4
        return (await self.talk([whole] if pieces == 1 else [whole[:cut], whole[cut:]], 1))[0]

    async def talk(self, pieces: list[bytes], answers: int) -> list[Answer]:
        """Writes the pieces one after the other on one connection, and reads so many answers; then goes away."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            async with asyncio.timeout(30):
                for n, piece in enumerate(pieces):
                    if n:
                        await asyncio.sleep(0.01)  # so that they do not come as one
                    writer.write(piece)
                return [await _answer(reader) for _ in range(answers)]
        finally:
            writer.close()


async def _answer(reader: asyncio.StreamReader) -> Answer:
    status, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").rstrip().split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    return Answer(int(status.split()[1]), headers, await reader.readexactly(int(headers["content-length"])))


@asynccontextmanager
async def serving(app: Any) -> AsyncIterator[Wire]:
    """`app` as `serve` runs it, on a port of its own."""
    config = uvicorn.Config(
        app,
        http=PatientProtocol,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
    )
    config.load()
    state = uvicorn.server.ServerState()
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    server = await asyncio.get_running_loop().create_server(lambda: PatientProtocol(config, state, {}), sock=listener)
    yield Wire(int(server.sockets[0].getsockname()[1]))
    server.close()
    for connection in list(state.connections):
        connection.transport.close()  # type: ignore[union-attr]
    await asyncio.sleep(0.01)
