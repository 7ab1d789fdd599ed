"""The composition root: starts everything in order, stops it in reverse, drains in between."""

import asyncio
import contextlib
import signal
import socket
import sys
import time
from collections.abc import Generator

import uvicorn
import uvloop

from tidings.channels.contract import ProviderSpec
from tidings.delivery.node import Node
from tidings.delivery.settle import UnknownWait
from tidings.domain.errors import SettingsError, StoreError, StoreFull
from tidings.http.app import create_app
from tidings.http.auth import first_keys
from tidings.http.services import Services
from tidings.http.wire import PatientProtocol
from tidings.kit import log
from tidings.kit.clock import wall_ms
from tidings.kit.limits import DRAIN_S
from tidings.kit.secrets import KeyRing
from tidings.sandbox.sms import SandboxSmsc
from tidings.settings import Settings
from tidings.smppd.server import SmppServer
from tidings.store import opening
from tidings.store.store import Store
from tidings.webhooks.process import PumpProcess
from tidings.webhooks.service import WebhookService

_SANDBOX_LOGIN = "sandbox"
_FULL = "no disk space is left for the database: make room; what was accepted is kept, and goes on by itself then"
_FULL_S = 10.0  # so long a message that found no space stands for the next ones: smaller writes may still find some
_SWITCH_S = (
    0.0005  # the writer thread is back within half a millisecond, not five, after SQLite gave up the interpreter lock
)


def serve(settings: Settings) -> int:
    """Runs until SIGTERM or SIGINT. Returns the exit code. Raises TidingsError before anything has started."""
    log.configure("WARNING", sys.stderr)
    sys.setswitchinterval(_SWITCH_S)
    return uvloop.run(_serve(settings))


def migrate(settings: Settings) -> list[str]:
    """Brings the database to this version's schema; the names of the steps applied. Raises StoreLocked, StoreError."""
    return asyncio.run(opening.migrate(settings.database, settings.database_url))


class _Server(uvicorn.Server):
    """uvicorn without its own signal handling: the order of the shutdown is ours."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


async def _serve(settings: Settings) -> int:
    listener = _listen(settings)
    try:
        async with opening.opened(settings.database, settings.database_url) as store:
            return await _with_store(settings, store, listener)
    finally:
        listener.close()


async def _with_store(settings: Settings, store: Store, listener: socket.socket) -> int:
    ring = KeyRing.load(settings.data / "keys.json")
    shown = await first_keys(store, settings.api_key, wall_ms())
    sandbox = SandboxSmsc(
        system_id=_SANDBOX_LOGIN, password=_SANDBOX_LOGIN, receipt_delay_s=settings.sandbox.receipt_delay_s
    )
    await sandbox.start()
    wait = UnknownWait(settings.delivery.unknown_wait_otp_s, settings.delivery.unknown_wait_s)
    pumps = _pumps(settings, store)
    node = Node(store, ring, wait=wait, bus=pumps.bus if pumps is not None else None)
    webhooks = WebhookService(
        store,
        ring,
        node.bus,
        wall_ms,
        settings.webhooks.allow_private,
        settings.webhooks.allow,
        shared=pumps is not None,
    )
    smpp = _smpp_server(settings, node)
    try:
        await node.start([*settings.providers, _sandbox_spec(sandbox.port)])
        if pumps is None:
            await webhooks.start()
        if smpp is not None:
            await smpp.start()
            print(f"SMPP for customers at {smpp.host}:{smpp.port}", flush=True)
        await _http(node, webhooks, listener, shown)
    finally:
        if smpp is not None:
            await smpp.stop()
        await node.stop(DRAIN_S)
        await webhooks.stop()
        if pumps is not None:
            await pumps.stop()
        await sandbox.stop()
    return 0


def _pumps(settings: Settings, store: Store) -> PumpProcess | None:
    """The process of the pumps beside the embedded database."""
    link = store.engine.second_link
    if link is None:
        return None
    keys, webhooks = settings.data / "keys.json", settings.webhooks
    return PumpProcess(settings.database, keys, webhooks.allow_private, webhooks.allow, link)


def _smpp_server(settings: Settings, node: Node) -> SmppServer | None:
    if not settings.smpp_server.listen:
        return None
    return SmppServer(
        settings.smpp_server, node.store, node.ring, node.bus, node.acceptor, node.control, node.now,
    )  # fmt: skip


async def _http(node: Node, webhooks: WebhookService, listener: socket.socket, shown: list[str]) -> None:
    services = Services(
        store=node.store,
        ring=node.ring,
        bus=node.bus,
        acceptor=node.acceptor,
        control=node.control,
        providers=node.providers,
        webhooks=webhooks,
        callbacks=node,
        unready=lambda: _unready(node.store),
        gauges=lambda: _gauges(node),
        now=node.now,
    )
    app = create_app(services)
    config = uvicorn.Config(
        app, http=PatientProtocol, log_level="warning", access_log=False, server_header=False, timeout_keep_alive=75,
        timeout_graceful_shutdown=5, h11_max_incomplete_event_size=65_536, lifespan="off", proxy_headers=False, backlog=1024,
        log_config=None,
    )  # fmt: skip
    server = _Server(config)

    def end() -> None:
        app.close()  # streams end now, so that the drain does not wait for them
        server.should_exit = True

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    host, port = listener.getsockname()[:2]
    _announce(f"http://{host}:{port}", shown)
    await server.serve(sockets=[listener])


def _announce(url: str, shown: list[str]) -> None:
    for key in shown:
        print(f"API key (shown this once): {key}", flush=True)
    print(f"Tidings is ready at {url}  (API reference: {url}/docs)", flush=True)


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.listen_host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.listen_host, settings.listen_port))
        listener.listen(1024)
    except OSError as error:
        listener.close()
        where = f"{settings.listen_host}:{settings.listen_port}"
        raise SettingsError(f"cannot listen on {where}: {error.strerror}; choose another with --listen") from error
    return listener


def _sandbox_spec(port: int) -> ProviderSpec:
    config = {"host": "127.0.0.1", "port": port, "system_id": _SANDBOX_LOGIN, "password": _SANDBOX_LOGIN, "smart": True}
    return ProviderSpec(name="sandbox", type="sms.smpp", config=config, origin="sandbox")


async def _unready(store: Store) -> list[str]:
    """Reasons against traffic. Carrier links are shown beside it: without one, messages wait, they are not refused."""
    try:
        async with asyncio.timeout(2):
            await store.probe(wall_ms())
        full = time.monotonic() - store.accepting.full_s < _FULL_S
    except StoreFull:
        full = True
    except (TimeoutError, StoreError) as error:
        return [f"the store does not write: {error or 'time-out'}"]
    return [_FULL] if full else []


def _gauges(node: Node) -> dict[str, float]:
    gauges: dict[str, float] = {
        "tidings_attempts_in_flight": node.dispatcher.flying,
        "tidings_store_writes_waiting": node.store.engine.pending,
        "tidings_store_commits_total": node.store.engine.commits,
    }
    for member in node.fleet.members():
        up = sum(link.state == "up" for link in member.provider.links())
        gauges[f'tidings_provider_links_up{{provider="{member.spec.name}"}}'] = up
    return gauges
