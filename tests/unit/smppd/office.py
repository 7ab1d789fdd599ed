"""The SMPP server for customers over the real store and the real delivery path, in this process; the carrier is the sandbox."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tidings.channels.contract import ProviderSpec
from tidings.delivery.node import Node
from tidings.delivery.settle import UnknownWait
from tidings.domain import smpp_login
from tidings.domain.view import StoredMessage
from tidings.kit.clock import wall_ms
from tidings.kit.ids import new_id
from tidings.kit.secrets import KeyRing, digest
from tidings.protocols.smpp import constants as c
from tidings.protocols.smpp.pdu import HEADER, Bind, Sm, encode_bind, encode_sm, pdu
from tidings.sandbox.sms import SandboxSmsc
from tidings.smppd.config import SmppServerSettings
from tidings.smppd.server import SmppServer
from tidings.store.accounts import First, NewKey, StoredKey
from tidings.store.sqlite.engine import Engine
from tidings.store.sqlite.migrate import migrate
from tidings.store.store import Store

PROJECT = "prj_" + "0" * 32
DELIVERED = "+15005550001"


class Office:
    """Test keys send through the sandbox, live keys through `carrier`."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder
        self.settings = SmppServerSettings(listen="127.0.0.1:0", **settings)
        self.smsc, self.carrier = SandboxSmsc(receipt_delay_s=0.01), SandboxSmsc(receipt_delay_s=0.01)
        self.keys: dict[str, StoredKey] = {}
        self.tokens: dict[str, str] = {}
        self.wires: list[Wire] = []

    async def open(self) -> None:
        await self.smsc.start()
        await self.carrier.start()
        await self.start()
        first = First(project=PROJECT, keys=[], preset=False, now_ms=wall_ms())
        await self.store.keys.first(first)
        await self.key("test")
        await self.key("live", mode="live")

    async def start(self) -> None:
        self.engine = Engine(self.folder / "tidings.db")
        self.engine.open()
        migrate(self.engine.writer)
        self.engine.start()
        self.store = Store(self.engine)
        self.ring = KeyRing.load(self.folder / "keys.json")
        self.node = Node(self.store, self.ring, wait=UnknownWait(0.3, 0.3))
        login = {"host": "127.0.0.1", "system_id": "sandbox", "password": "sandbox"}
        sandbox = ProviderSpec(
            name="sandbox", type="sms.smpp", config=login | {"port": self.smsc.port}, origin="sandbox"
        )
        carrier = ProviderSpec(name="carrier", type="sms.smpp", config=login | {"port": self.carrier.port})
        await self.node.start([sandbox, carrier])
        node = self.node
        self.server = SmppServer(
            self.settings, self.store, self.ring, node.bus, node.acceptor, node.control, node.now
        )  # fmt: skip
        await self.server.start()

    async def stop(self) -> None:
        await self.server.stop()
        await self.node.stop(1)
        self.engine.close()

    async def close(self) -> None:
        for wire in self.wires:
            wire.writer.transport.abort()
        await self.stop()
        await self.smsc.stop()
        await self.carrier.stop()

    async def key(self, name: str, *, mode: str = "test", scopes: tuple[str, ...] = ("*",), **fields: Any) -> StoredKey:
        """A key under this name here; its token is in `tokens`."""
        token = f"tk_{mode}_{digest(new_id('key'))}{'0' * 16}"
        key = StoredKey(
            id=new_id("key"), project=PROJECT, name=name, mode=mode, scopes=list(scopes), hash=digest(token),
            hint=token[-4:], created_ms=wall_ms(), **fields,
        )  # fmt: skip
        await self.store.keys.create(NewKey(key=key))
        self.keys[name], self.tokens[name] = key, token
        return key

    @property
    def port(self) -> int:
        return self.server.port

    def login(self, name: str = "test") -> tuple[str, str]:
        """(system_id, password) of a key, as a strict client needs them."""
        id = self.keys[name].id
        return smpp_login.system_id(id), smpp_login.password(self.ring, id)

    async def message(self, message_id: str) -> StoredMessage:
        return await self.node.control.get(PROJECT, f"msg_{message_id}")

    async def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        return await self.engine.read(lambda connection: list(connection.execute(sql, values)))

    async def messages(self) -> list[StoredMessage]:
        found = await self.rows("select id from messages order by id")
        loaded = await self.store.messages.load(self.ring, PROJECT, [str(row[0]) for row in found])
        return [loaded[str(row[0])] for row in found]


class Wire:
    """A client of bare octets, for what well-behaved clients never write."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.sequence = 0

    @classmethod
    async def connect(cls, office: Office) -> Wire:
        wire = cls(*await asyncio.open_connection("127.0.0.1", office.port))
        office.wires.append(wire)
        return wire

    @classmethod
    async def bound(cls, office: Office, name: str = "test", command: int = c.BIND_TRANSCEIVER, **fields: Any) -> Wire:
        wire = await cls.connect(office)
        system_id, password = office.login(name)
        status, _ = await wire.ask(command, encode_bind(Bind(system_id=system_id, password=password, **fields)))
        assert status == 0, hex(status)
        return wire

    def write(self, command: int, body: bytes = b"", status: int = 0, sequence: int | None = None) -> int:
        if sequence is None:
            self.sequence += 1
            sequence = self.sequence
        self.writer.write(pdu(command, status, sequence, body))
        return sequence

    async def read(self, timeout_s: float = 30) -> tuple[int, int, int, bytes]:
        """(command, status, sequence, body)"""
        async with asyncio.timeout(timeout_s):
            head = await self.reader.readexactly(16)
            length, command, status, sequence = HEADER.unpack(head)
            return command, status, sequence, await self.reader.readexactly(length - 16)

    async def ask(self, command: int, body: bytes = b"") -> tuple[int, bytes]:
        """(status, body) of the answer; what comes between is passed over."""
        mine = self.write(command, body)
        while True:
            got, status, sequence, answer = await self.read()
            if sequence == mine and (got == command | c.RESP or got == c.GENERIC_NACK):
                return status, answer

    async def submit(self, **fields: Any) -> tuple[int, str]:
        """(status, message id)"""
        status, body = await self.ask(c.SUBMIT_SM, encode_sm(sm(**fields)))
        return status, body.rstrip(b"\0").decode()

    async def delivered(self, status: int = 0) -> bytes:
        """The body of the next deliver_sm, which is answered."""
        while True:
            command, _, sequence, body = await self.read()
            if command == c.DELIVER_SM:
                self.write(c.DELIVER_SM_RESP, b"\0", status, sequence)
                return body

    async def ended(self, timeout_s: float = 30) -> None:
        """Reads until the server has closed."""
        async with asyncio.timeout(timeout_s):
            with contextlib.suppress(ConnectionError):
                while await self.reader.read(65_536):
                    pass

    async def close(self) -> None:
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except ConnectionError:
            return


def sm(to: str = DELIVERED, text: bytes = b"hello", **fields: Any) -> Sm:
    """A submit_sm as a plain client fills it in."""
    made: dict[str, Any] = {
        "destination_addr": to.lstrip("+").encode(), "dest_addr_ton": 1, "dest_addr_npi": 1, "source_addr": b"ACME",
        "source_addr_ton": 5, "short_message": text,
    }  # fmt: skip
    return Sm(**(made | fields))


async def until(check: Callable[[], Any], deadline_s: float = 30) -> None:
    """Waits until it holds."""
    async with asyncio.timeout(deadline_s):
        while not check():
            await asyncio.sleep(0.01)
