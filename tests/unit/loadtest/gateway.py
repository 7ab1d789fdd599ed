"""A small gateway between a load test and its carrier, right by default, with one planted fault at a time.

Not Tidings: aiohttp serves the few routes that a load test uses, the `standardwebhooks` package signs the calls, and the
SMPP side is a few lines over our codec. So what the load test says is judged by what was planted here.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web
from standardwebhooks import Webhook

from tidings.protocols.smpp import constants as c
from tidings.protocols.smpp.pdu import Framer, Sm, c_octets, decode_sm, encode_sm, pdu

DELAY_S = 5.0


@dataclass
class Fault:
    """What goes wrong with each `every`-th message. 0 of a kind: nothing."""

    kind: str = ""
    every: int = 100
    planted: int = 0


@dataclass
class Gateway:
    fault: Fault = field(default_factory=Fault)
    secret: str = "whsec_" + "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0"
    hook: str = ""
    provider: dict[str, Any] = field(default_factory=dict)
    messages: dict[str, dict[str, Any]] = field(default_factory=dict)
    log: dict[str, list[str]] = field(default_factory=dict)
    removed: list[str] = field(default_factory=list)
    url: str = ""
    answer_s: float = 0.0
    route: str = ""

    def __post_init__(self) -> None:
        self._count = 0
        self._writer: asyncio.StreamWriter | None = None
        self._sequence = 10
        self._asked: dict[int, str] = {}
        self._refs: dict[str, str] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._burst: list[dict[str, Any]] = []

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- the API

    async def send(self, request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(self.answer_s)
        answer = self._accept(await request.json())
        if answer is None:
            request.transport.abort()  # type: ignore[union-attr]
            return web.Response(status=500)
        status, body = answer
        return web.json_response(body, status=status)

    async def send_batch(self, request: web.Request) -> web.Response:
        items = [self._accept(item) for item in (await request.json())["messages"]]
        data = [body if status == 202 else {"error": body} for status, body in filter(None, items)]
        return web.json_response({"data": data}, status=202)

    def _accept(self, body: dict[str, Any]) -> tuple[int, Any] | None:
        self._count += 1
        hit = bool(self.fault.kind) and self._count % self.fault.every == 0
        self.fault.planted += hit
        kind = self.fault.kind if hit else ""
        if kind == "refuse":
            return 429, {"code": "overloaded", "detail": "later", "status": 429}
        if kind == "hang up":
            return None
        message = {"id": f"msg_{secrets.token_hex(16)}", "status": "accepted", "channel": "sms", **body}
        self.messages[message["id"]] = message
        self.log[message["id"]] = ["message.accepted"]
        if kind != "drop":
            self._spawn(self._deliver(message, kind))
        return 202, {key: message[key] for key in ("id", "status", "channel")}

    async def _deliver(self, message: dict[str, Any], kind: str) -> None:
        message["fault"] = kind
        if kind == "delay":
            await asyncio.sleep(DELAY_S)
        if self.fault.kind == "burst":  # every message waits for its burst: the rate is broken, nothing else
            self._burst.append(message)
            if len(self._burst) < 60:
                return
            ready, self._burst = self._burst, []
            for one in ready:
                self._submit(one)
            return
        if kind == "invent":
            await self._call(message, "failed")
            return
        self._submit(message)
        if kind == "duplicate":
            self._submit(message)
        if kind == "unknown":
            self.log[message["id"]].append("attempt.unknown")
            self._submit(message)

    def _submit(self, message: dict[str, Any]) -> None:
        assert self._writer is not None
        sm = Sm(
            source_addr=b"LOADTEST", source_addr_ton=5, destination_addr=message["to"].lstrip("+").encode(), dest_addr_ton=1,
            dest_addr_npi=1, registered_delivery=1, short_message=message["text"].encode(),
        )  # fmt: skip
        self._sequence += 1
        self._asked[self._sequence] = message["id"]
        self._writer.write(pdu(c.SUBMIT_SM, 0, self._sequence, encode_sm(sm)))

    # -- the carrier

    async def bind(self) -> None:
        reader, self._writer = await asyncio.open_connection(self.provider["host"], self.provider["port"])
        body = c_octets("", self.provider["system_id"], 16) + c_octets("", self.provider["password"], 9)
        self._writer.write(pdu(c.BIND_TRANSCEIVER, 0, 1, body + b"\0\x34\0\0\0"))
        framer = Framer()
        while data := await reader.read(65_536):
            for command, status, sequence, body in framer.feed(data):
                self._from_carrier(command, status, sequence, body)

    def _from_carrier(self, command: int, status: int, sequence: int, body: bytes) -> None:
        assert self._writer is not None
        if command == c.SUBMIT_SM | c.RESP:
            self._refs[body.rstrip(b"\0").decode()] = self._asked.pop(sequence)
        elif command == c.DELIVER_SM:
            self._writer.write(pdu(command | c.RESP, 0, sequence, b"\0"))
            text = decode_sm(body).short_message.decode("latin-1")
            message = self.messages[self._refs[text.split("id:")[1].split()[0]]]
            self._spawn(self._receipt(message, "delivered" if "stat:DELIVRD" in text else "undelivered"))

    async def _receipt(self, message: dict[str, Any], word: str) -> None:
        if message["status"] == word:
            return
        message["status"] = word
        if message["fault"] == "no callback":
            return
        await self._call(message, "failed" if message["fault"] == "lie" else word)

    async def _call(self, message: dict[str, Any], word: str) -> None:
        data = {"id": message["id"], "reference": message["reference"], "status": word}
        now = dt.datetime.now(dt.UTC)
        body = json.dumps({"type": f"message.{word}", "timestamp": now.isoformat(), "data": data})
        secret = "whsec_" + "Zm9yZ2VkLWZvcmdlZC1mb3JnZWQ=" if message["fault"] == "forge" else self.secret
        call = f"evt_{secrets.token_hex(8)}"
        headers = {
            "webhook-id": call, "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": Webhook(secret).sign(call, now, body), "content-type": "application/json",
        }  # fmt: skip
        async with aiohttp.ClientSession() as session, session.post(self.hook, data=body, headers=headers):
            pass

    # -- set up and taken down

    async def make(self, request: web.Request) -> web.Response:
        body, kind = await request.json(), request.path.split("/")[2]
        if kind == "projects":
            return web.json_response({"id": "prj_1", "name": body["name"]}, status=201)
        if kind == "keys":
            key = {"id": "key_1", "name": body["name"], "mode": "live", "key": "tk_live_" + "a" * 32}
            return web.json_response(key, status=201)
        if kind == "webhooks":
            self.hook = body["url"]
            return web.json_response({"id": "whk_1", "url": self.hook, "secret": self.secret}, status=201)
        self.provider = {"name": body["name"], **body["config"]}
        self._spawn(self.bind())
        return web.json_response(self._view(), status=201)

    def _view(self) -> dict[str, Any]:
        return {"id": "prv_1", "name": self.provider["name"], "type": "sms.smpp", "status": "up"}

    async def show(self, request: web.Request) -> web.Response:
        parts = request.path.split("/")
        if parts[2] == "providers":
            return web.json_response(self._view())
        if parts[2] == "messages" and parts[-1] == "events":
            events = [{"type": kind, "timestamp": "2026-01-01T00:00:00Z"} for kind in self.log[parts[3]]]
            return web.json_response({"data": events, "next_cursor": None})
        if parts[2] == "messages" and len(parts) == 4:
            return web.json_response({key: self.messages[parts[3]][key] for key in ("id", "status")})
        wanted = request.query.get("reference")
        found = [m for m in self.messages.values() if m["reference"] == wanted] if parts[2] == "messages" else []
        data = [{"id": m["id"], "status": m["status"]} for m in found]
        return web.json_response({"data": data, "next_cursor": None})

    async def preview(self, request: web.Request) -> web.Response:
        return web.json_response({"route": {"provider": self.route or self.provider.get("name"), "alternatives": []}})

    async def remove(self, request: web.Request) -> web.Response:
        self.removed.append(request.path)
        return web.Response(status=204)

    async def ready(self, request: web.Request) -> web.Response:
        return web.json_response({"status": "ready"})

    async def stop(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._writer is not None:
            self._writer.close()
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()


@asynccontextmanager
async def gateway(kind: str = "", every: int = 100, answer_s: float = 0.0) -> AsyncIterator[Gateway]:
    """A gateway on an ephemeral port of this machine."""
    made = Gateway(Fault(kind, every), answer_s=answer_s)
    app = web.Application()
    app.router.add_get("/readyz", made.ready)
    app.router.add_post("/v1/messages", made.send)
    app.router.add_post("/v1/messages/batch", made.send_batch)
    app.router.add_post("/v1/messages/preview", made.preview)
    app.router.add_post("/v1/{kind}", made.make)
    app.router.add_get("/v1/{tail:.*}", made.show)
    app.router.add_delete("/v1/{tail:.*}", made.remove)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield made
    finally:
        await made.stop()
        await runner.cleanup()
