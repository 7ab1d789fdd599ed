"""The SMPP server for customers: its listener, its sessions, who may bind, and what watches over them."""

import asyncio
import contextlib
import logging
import secrets
import ssl
import time
from collections import defaultdict
from collections.abc import Coroutine
from hmac import compare_digest
from typing import Any

from tidings.bus.contract import Bus
from tidings.delivery.accept import Acceptor
from tidings.delivery.control import Control
from tidings.domain import smpp_login
from tidings.domain.errors import SettingsError, StoreError
from tidings.kit.clock import Clock
from tidings.kit.limits import LISTEN_BACKLOG
from tidings.kit.secrets import KeyRing, digest
from tidings.protocols.smpp.constants import Status, Tag
from tidings.protocols.smpp.pdu import Bind, SmppDecodeError, decode_bind, encode_bind_resp
from tidings.smppd.account import Account
from tidings.smppd.config import CLOSE_S, KEY_CHECK_S, PARTS_SWEEP_S, SESSIONS_PER_KEY, UNBOUND, SmppServerSettings
from tidings.smppd.deliver import Delivery
from tidings.smppd.errors import status_of
from tidings.smppd.intake import Answer, Intake, Request
from tidings.smppd.lobby import Lobby
from tidings.smppd.pump import Pump
from tidings.smppd.session import Kind, Session
from tidings.smppd.submit import Reader
from tidings.smppd.throttle import BindThrottle
from tidings.store.accounts import StoredKey
from tidings.store.customers import Customers
from tidings.store.store import Store

_log = logging.getLogger(__name__)
_NAME = "tidings"
_VERSION_34 = 0x34
_TOKEN = "tk_"


class SmppServer:
    """Start it, stop it. `port` is the real one after the start. Implements `session.Desk`."""

    def __init__(
        self, settings: SmppServerSettings, store: Store, ring: KeyRing, bus: Bus, acceptor: Acceptor, control: Control,
        now: Clock, *, only_process: bool = True,
    ) -> None:  # fmt: skip
        self.settings = settings
        self._store, self._ring, self._bus, self._now = store, ring, bus, now
        self._customers = Customers(store.engine)
        reader = Reader(settings.default_alphabet, settings.data_coding_1)
        self._intake = Intake(acceptor, control, self._customers, ring, reader, now)
        self._only_process = only_process
        self._owner = secrets.token_hex(8)
        self._throttle = BindThrottle(time.monotonic)
        self._accounts: dict[str, Account] = {}
        self._bound: defaultdict[str, list[Session]] = defaultdict(list)
        self._pumps: dict[str, tuple[Pump, asyncio.Task[None]]] = {}
        self._lobby = Lobby(UNBOUND)
        self._sessions: set[Session] = set()
        self._listener: asyncio.Server | None = None
        self._group: asyncio.TaskGroup | None = None
        self._main: asyncio.Task[None] | None = None
        self._ending, self._gone = asyncio.Event(), asyncio.Event()
        self._stopping = False
        self.host, self.port = "", 0

    async def start(self) -> None:
        """Listens. Raises SettingsError, StoreError."""
        tls = _tls(self.settings)
        if self._only_process:
            await self._customers.take_over()
        host, _, port = self.settings.listen.rpartition(":")
        started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._main = asyncio.create_task(self._run(started), name="smpp-server")
        await started
        loop = asyncio.get_running_loop()
        try:
            self._listener = await loop.create_server(
                lambda: Session(self), host.strip("[]"), int(port), ssl=tls, backlog=LISTEN_BACKLOG
            )
        except OSError as error:
            await self.stop()
            raise SettingsError(
                f"cannot listen for SMPP on {self.settings.listen}: {error.strerror or error}"
            ) from error
        self.host, self.port = self._listener.sockets[0].getsockname()[:2]

    async def stop(self) -> None:
        """Unbinds every session, waits a moment for what is under way, stores the cursors."""
        if self._listener is not None:
            self._listener.close()
        for session in [*self._lobby.all(), *self._sessions]:
            session.end()
        self._stopping = True
        if self._sessions:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_S + 1):
                    await self._gone.wait()
        for session in [*self._lobby.all(), *self._sessions]:
            session.abort()
        for _, task in self._pumps.values():
            task.cancel()
        self._ending.set()
        if self._main is not None:
            await self._main
            self._main = None

    async def _run(self, started: "asyncio.Future[None]") -> None:
        async with asyncio.TaskGroup() as group:
            self._group = group
            watching = [group.create_task(self._watch_keys()), group.create_task(self._sweep_parts())]
            started.set_result(None)
            await self._ending.wait()
            for task in watching:
                task.cancel()
        self._group = None

    # -- what watches

    async def _watch_keys(self) -> None:
        """Ends the sessions of keys that were revoked, or have expired."""
        while True:
            await asyncio.sleep(KEY_CHECK_S)
            bound = [id for id, sessions in self._bound.items() if sessions]
            try:
                good = await self._customers.good(bound, self._now()) if bound else set[str]()
            except StoreError as error:
                _log.warning("keys cannot be looked at: %s", error)
                continue
            except Exception:
                _log.exception("keys cannot be looked at")
                continue
            for id in set(bound) - good:
                for session in list(self._bound[id]):
                    session.end()

    async def _sweep_parts(self) -> None:
        while True:
            try:
                await self._intake.parts.sweep(self._now())
            except StoreError as error:
                _log.warning("parts of long messages wait: %s", error)
            except Exception:
                _log.exception("parts of long messages wait")
            await asyncio.sleep(PARTS_SWEEP_S)

    # -- session.Desk

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """See `Desk`."""
        if self._group is None or self._ending.is_set():
            work.close()
            return
        self._group.create_task(_guarded(work))

    def connected(self, session: Session) -> None:
        """See `Desk`. Where too many have not bound yet, one of them makes room."""
        pushed_out = self._lobby.enter(session)
        if pushed_out is not None:
            pushed_out.abort()

    def closed(self, session: Session, deliveries: list[Delivery]) -> None:
        """See `Desk`."""
        self._lobby.discard(session)
        self._sessions.discard(session)
        if self._stopping and not self._sessions:
            self._gone.set()
        account = session.account
        if account is None:
            return
        if session in self._bound[account.id]:
            self._bound[account.id].remove(session)
        pump = self._pumps.get(account.id)
        if pump is not None:
            pump[0].returned(deliveries)

    async def bind(self, session: Session, kind: Kind, body: bytes) -> Answer:
        """See `Desk`."""
        if not self._lobby.binds(session):
            return int(Status.ESME_RBINDFAIL), b""
        try:
            asked = decode_bind(body)
        except SmppDecodeError as error:
            return error.status, b""
        try:
            key = await self._key(asked, session.peer)
            if isinstance(key, int):
                return key, b""
            account = self._account(key)
            if not _may(account, kind) or len(self._bound[key.id]) >= SESSIONS_PER_KEY:
                return int(Status.ESME_RBINDFAIL), b""
            await self._customers.open(key.id, key.project, self._now())
        except StoreError as error:
            return status_of(error), b""
        if session not in self._lobby or len(self._sessions) >= self.settings.max_connections:
            return int(Status.ESME_RBINDFAIL), b""
        self._join(session, account, kind, asked.interface_version)
        tlvs = {int(Tag.SC_INTERFACE_VERSION): bytes((_VERSION_34,))} if session.version >= _VERSION_34 else {}
        return 0, encode_bind_resp(_NAME, tlvs)

    async def answer(self, account: Account, batch: list[Request]) -> list[Answer]:
        """See `Desk`."""
        return await self._intake.answer(account, batch)

    def acknowledged(self, session: Session, delivery: Delivery, status: int) -> None:
        """See `Desk`."""
        if session.account is not None and session.account.id in self._pumps:
            self._pumps[session.account.id][0].acknowledged(delivery, status)

    def feed(self, account: Account) -> None:
        """See `Desk`."""
        pump = self._pumps.get(account.id)
        if pump is not None:
            pump[0].feed()
            pump[0].wake()

    # -- who binds

    async def _key(self, asked: Bind, peer: str) -> StoredKey | int:
        """The key, or the command_status of a refusal. Guesses run out before anything is compared."""
        if not self._throttle.may_try(peer, asked.system_id):
            return int(Status.ESME_RBINDFAIL)
        found, status = await self._find(asked)
        if found is None:
            self._throttle.failed(peer, asked.system_id)
            return status
        self._throttle.succeeded(peer, asked.system_id)
        return found

    async def _find(self, asked: Bind) -> tuple[StoredKey | None, int]:
        """By the whole key as password, under any name; else by the key's own name and password."""
        if asked.password.startswith(_TOKEN):
            hashed = digest(asked.password.encode("latin-1"))
            known = await self._store.keys.by_hash(hashed)
            good = known is not None and compare_digest(known[0].hash, hashed) and self._lives(known[0])
            return (known[0] if known and good else None), int(Status.ESME_RINVPASWD)
        named = await self._customers.by_name(asked.system_id)
        for key in named:
            if smpp_login.matches(self._ring, key.id, asked.password) and self._lives(key):
                return key, 0
        return None, int(Status.ESME_RINVPASWD if named else Status.ESME_RINVSYSID)

    def _lives(self, key: StoredKey) -> bool:
        return key.revoked_ms is None and (key.expires_ms is None or key.expires_ms > self._now())

    def _account(self, key: StoredKey) -> Account:
        account = self._accounts.get(key.id)
        if account is None:
            account = self._accounts[key.id] = Account(key, self.settings.rate_per_s)
        return account

    def _join(self, session: Session, account: Account, kind: Kind, version: int) -> None:
        self._lobby.discard(session)
        self._sessions.add(session)
        session.bound(account, kind, version)
        self._bound[account.id].append(session)
        if session.receives and account.id not in self._pumps and self._group is not None:
            pump = Pump(
                account, self._bound[account.id], self._store, self._customers, self._ring, self._bus, self._owner, self._now,
                self.settings.default_alphabet,
            )  # fmt: skip
            task = self._group.create_task(pump.run(), name=f"smpp:{account.id}")
            self._pumps[account.id] = (pump, task)


def _may(account: Account, kind: Kind) -> bool:
    return (kind == "receiver" or account.writes) and (kind == "transmitter" or account.reads)


async def _guarded(work: Coroutine[Any, Any, None]) -> None:
    """An error of one session ends nobody else's."""
    try:
        await work
    except Exception:
        _log.exception("an SMPP session failed")


def _tls(settings: SmppServerSettings) -> ssl.SSLContext | None:
    if settings.tls_cert is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(settings.tls_cert, settings.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"smpp_server.tls_cert: {error}") from error
    return context
