"""The composition root: starts everything in order, stops it in reverse, drains in between."""

import asyncio
import contextlib
import signal
import socket
import ssl
import sys
import time
from collections.abc import Generator

import uvicorn
import uvloop

from tidings.bus.contract import Bus
from tidings.bus.local import LocalBus
from tidings.bus.pipe import PipeBus
from tidings.channels.contract import ProviderSpec
from tidings.channels.email.accounts import mail_accounts
from tidings.channels.email.listener import MailListener
from tidings.delivery.keeper import Duty
from tidings.delivery.node import Node, Part
from tidings.delivery.settle import UnknownWait
from tidings.domain.errors import SettingsError, StoreError, StoreFull
from tidings.http.app import create_app
from tidings.http.auth import first_keys
from tidings.http.services import Services
from tidings.http.wire import PatientProtocol
from tidings.kit import log
from tidings.kit.clock import wall_ms
from tidings.kit.limits import DRAIN_S, LISTEN_BACKLOG, SEND_BUFFER_BYTES
from tidings.kit.process import home
from tidings.kit.secrets import KeyRing
from tidings.sandbox.stations import Stations
from tidings.settings import MailServerSettings, Settings, mail_address
from tidings.smppd.server import SmppServer
from tidings.store import opening
from tidings.store.respelt import respell
from tidings.store.store import Store
from tidings.verify.expiry import Expiry
from tidings.verify.service import VerifyService
from tidings.webhooks.process import PumpProcess
from tidings.webhooks.service import WebhookService

_FULL = "no disk space is left for the database: make room; what was accepted is kept, and goes on by itself then"
_FULL_S = 5.0  # so long a message that found no space stands for the next ones, whatever was accepted in between
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
    if settings.database_url is not None and not await store.same_ring(ring.lookup("key ring")):
        raise SettingsError(f"{settings.data / 'keys.json'} is not this database's key ring: copy it from another node")
    await respell(store, ring)
    shown = await first_keys(store, settings.api_key, wall_ms()) if settings.role != "worker" else []
    async with contextlib.AsyncExitStack() as stack:
        bus = await _bus(settings, store, ring, stack)
        webhooks = WebhookService(store, ring, bus, wall_ms, settings.webhooks.allow_private, settings.webhooks.allow)
        delivers = settings.role != "api"
        part = Part(
            delivers=delivers, home=stack.enter_context(home(settings.data)) if delivers and not bus.alone else "",
            term_s=settings.delivery.owner_term_s,
        )  # fmt: skip
        wait = UnknownWait(settings.delivery.unknown_wait_otp_s, settings.delivery.unknown_wait_s)
        duties: dict[str, Duty] = {"verifications": Expiry(store, bus, wall_ms, settings.verify.keep_days)}
        if not isinstance(bus, PipeBus):
            duties["webhooks"] = webhooks
        node = Node(store, ring, wait=wait, bus=bus, part=part, duties=duties)
        stations = Stations(settings.sandbox.receipt_delay_s)
        stack.push_async_callback(stations.stop)
        specs = [*settings.providers, *await stations.start(_url_of(listener))]
        stack.push_async_callback(node.stop, DRAIN_S)
        await node.start(specs, settings.routes, settings.limits)
        await _mail(settings, node, stations, stack)
        if settings.smpp_server.listen and settings.role != "worker":
            smpp = SmppServer(
                settings.smpp_server, store, ring, bus, node.acceptor, node.control, node.now, only_process=bus.alone
            )  # fmt: skip
            stack.push_async_callback(smpp.stop)
            await smpp.start()
            print(f"SMPP for customers at {smpp.host}:{smpp.port}", flush=True)
        await _http(settings, node, webhooks, listener, shown)
    return 0


async def _mail(settings: Settings, node: Node, stations: Stations, stack: contextlib.AsyncExitStack) -> None:
    """Where mails come in: over loopback for the sandbox's, from outside for those of real providers."""
    inside = MailListener("127.0.0.1", 0, lambda: mail_accounts(_mailing(node, sandbox=True)), node, clock=node.now)
    stack.push_async_callback(inside.stop)
    await inside.start()
    stations.mail_to(inside.host, inside.port)
    wanted = settings.mail_server
    if not wanted.listen or settings.role == "worker":
        return
    outside = MailListener(
        *mail_address(wanted), lambda: mail_accounts(_mailing(node, sandbox=False)), node,
        hostname=wanted.hostname, tls=_mail_tls(wanted), clock=node.now,
    )  # fmt: skip
    try:
        await outside.start()
    except OSError as error:
        raise SettingsError(f"mail_server.listen: cannot listen on {wanted.listen}: {error.strerror}") from error
    stack.push_async_callback(outside.stop)
    print(f"Mail comes in at {outside.host}:{outside.port}", flush=True)


def _mailing(node: Node, *, sandbox: bool) -> list[ProviderSpec]:
    return [spec for spec in node.fleet.specs() if (spec.origin == "sandbox") == sandbox]


def _mail_tls(wanted: MailServerSettings) -> ssl.SSLContext | None:
    if wanted.tls_cert is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(wanted.tls_cert, wanted.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"mail_server.tls_cert: cannot be read: {error}") from error
    return context


async def _bus(settings: Settings, store: Store, ring: KeyRing, stack: contextlib.AsyncExitStack) -> Bus:
    """Doorbells for what runs beside this process. `space`: several installations may share a NATS server."""
    link = store.engine.second_link
    if link is not None:  # the embedded database: the webhook pumps are a process beside this one, and nothing else
        keys, webhooks = settings.data / "keys.json", settings.webhooks
        pumps = PumpProcess(settings.database, keys, webhooks.allow_private, webhooks.allow, link)
        stack.push_async_callback(pumps.stop)
        if await store.webhooks.all_endpoints():
            pumps.start()
        return pumps.bus
    if settings.bus_url is None:
        return LocalBus(alone=settings.database_url is None)
    from tidings.bus.nats import NatsBus  # a twentieth of the time of a start, for those who have a NATS server

    bus = NatsBus(settings.bus_url, space=ring.lookup("bus"))
    await bus.start()
    stack.push_async_callback(bus.stop)
    return bus


async def _http(
    settings: Settings, node: Node, webhooks: WebhookService, listener: socket.socket, shown: list[str]
) -> None:
    services = Services(
        store=node.store,
        ring=node.ring,
        bus=node.bus,
        acceptor=node.acceptor,
        control=node.control,
        providers=node.providers,
        routes=node.routes,
        webhooks=webhooks,
        verify=VerifyService(node.store, node.ring, node.acceptor, node.bus, node.now, settings.verify),
        callbacks=node,
        acks=node.acks,
        unready=lambda: _unready(node.store),
        gauges=lambda: _gauges(node),
        now=node.now,
    )
    app = create_app(services, health_only=settings.role == "worker")
    config = uvicorn.Config(
        app, http=PatientProtocol, log_level="warning", access_log=False, server_header=False, timeout_keep_alive=75,
        timeout_graceful_shutdown=5, h11_max_incomplete_event_size=65_536, lifespan="off", proxy_headers=False,
        backlog=LISTEN_BACKLOG, log_config=None,
    )  # fmt: skip
    server = _Server(config)

    def end() -> None:
        app.close()  # streams end now, so that the drain does not wait for them
        server.should_exit = True

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    host, port = listener.getsockname()[:2]
    _announce(f"http://{host}:{port}", shown, settings.role)
    watch = None if node.bus.alone else asyncio.create_task(app.keys.watch(), name="keys")
    try:
        await server.serve(sockets=[listener])
    finally:
        if watch is not None:
            watch.cancel()


def _announce(url: str, shown: list[str], role: str) -> None:
    for key in shown:
        print(f"API key (shown this once): {key}", flush=True)
    told = f"{url}/healthz" if role == "worker" else f"API reference: {url}/docs"
    print(f"Tidings is ready at {url}  ({told})", flush=True)


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.listen_host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)  # connections have it from here
    try:
        listener.bind((settings.listen_host, settings.listen_port))
        listener.listen(LISTEN_BACKLOG)
    except OSError as error:
        listener.close()
        where = f"{settings.listen_host}:{settings.listen_port}"
        raise SettingsError(f"cannot listen on {where}: {error.strerror}; choose another with --listen") from error
    return listener


def _url_of(listener: socket.socket) -> str:
    """Where this very process is reached over loopback: the simulators call it as carriers do."""
    host, port = listener.getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        host = "127.0.0.1" if host == "0.0.0.0" else "::1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def _unready(store: Store) -> list[str]:
    """Reasons against traffic. Carrier links are shown beside it: without one, messages wait, they are not refused."""
    try:
        async with asyncio.timeout(2):
            await store.probe(wall_ms())
        full = time.monotonic() - store.accepting.full_s < _FULL_S
    except StoreFull:
        full = True
    except (TimeoutError, StoreError) as error:
        return [f"the store does not write: {str(error) or 'time-out'}"]
    return [_FULL] if full else []


def _gauges(node: Node) -> dict[str, float]:
    gauges: dict[str, float] = {
        "tidings_attempts_in_flight": node.dispatcher.in_hand.flying,
        "tidings_store_writes_waiting": node.store.engine.pending,
        "tidings_store_commits_total": node.store.engine.commits,
    }
    for member in node.fleet.members():
        up = sum(link.state == "up" for link in member.provider.links())
        gauges[f'tidings_provider_links_up{{provider="{member.spec.name}"}}'] = up
    return gauges
