"""The SMPP server for customers, judged by clients that others wrote: npm `smpp`, smpplib, smpp34, aiosmpplib, Kannel."""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
import socket
import time
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiosmpplib
import pytest
import smpp34
import smpplib.client
import smpplib.consts
import smpplib.exceptions
import smpplib.gsm
from aiosmpplib.hook import SimpleHook

from acceptance.conftest import Api, start_server, stop_server
from listening import Listening
from peers.esme import Esme
from unit.smppd.office import Office, until

NUMBER = "15005550001"
LONG = "Ten chars." * 40
WIDE = "Ваш код 123 😀 " * 12


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    made = Office(tmp_path)
    await made.open()
    yield made
    await made.close()


async def node(script: str, folder: Path, *arguments: object) -> Any:
    """What a script for Node says as JSON; it ends by itself."""
    process = await asyncio.create_subprocess_exec(
        "node", "-e", script, *map(str, arguments), cwd=folder, stdout=asyncio.subprocess.PIPE
    )
    try:
        out, _ = await asyncio.wait_for(process.communicate(), 30)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return json.loads(out)


# -- npm smpp

_BIND = """
const smpp = require('smpp'); const [port, system_id, password] = process.argv.slice(1);
const die = setTimeout(() => { console.log(JSON.stringify({late: seen})); process.exit(2); }, 12000);
const seen = {}; const say = (what) => { console.log(JSON.stringify(what)); process.exit(0); };
const s = smpp.connect({url: 'smpp://127.0.0.1:' + port}, () => {
  s.bind_transceiver({system_id, password}, (b) => b.command_status ? say({bind: b.command_status}) : run()); });
"""
_NODE_ROUND = (
    _BIND
    + """
const ids = new Set(), receipts = new Map(); let reply;
const run = () => {
  for (let n = 0; n < 100; n++) s.submit_sm({destination_addr: n ? '15005550001' : '15005550007', dest_addr_ton: 1,
    dest_addr_npi: 1, source_addr: '12345', registered_delivery: 1, short_message: 'text ' + n}, (r) => ids.add(r.message_id));
  s.submit_sm({destination_addr: '15005550002', source_addr: 'ACME', source_addr_ton: 5, registered_delivery: 2,
    short_message: 'Ваш код'}, (r) => ids.add(r.message_id));
};
s.on('deliver_sm', (p) => {
  s.send(p.response());
  if (p.esm_class & 4) {
    const text = p.short_message.message;
    receipts.set(/id:(\\S+)/.exec(text)[1], [p.receipted_message_id, p.message_state, /stat:(\\S+)/.exec(text)[1]]);
  } else reply = [p.source_addr, p.destination_addr, p.short_message.message];
  if (receipts.size === 101 && reply) s.enquire_link({}, (e) => s.unbind({}, (u) => {
    const kinds = {}; for (const [id, r] of receipts) kinds[r.slice(1)] = (kinds[r.slice(1)] || 0) + 1;
    say({same: [...ids].every((id) => receipts.get(id)[0].replace(/\\0/g, '') === id), ids: ids.size, kinds, reply,
      enquired: e.command_status, unbound: u.command_status});
  }));
});
"""
)


async def test_npm_smpp(office: Office, node_peer: Path) -> None:
    assert await node(_NODE_ROUND, node_peer, office.port, *office.login()) == {
        "same": True, "ids": 101, "kinds": {"2,DELIVRD": 100, "5,UNDELIV": 1}, "reply": [NUMBER[:-1] + "7", "12345", "YES"],
        "enquired": 0, "unbound": 0,
    }  # fmt: skip
    texts = {one.message.personal.text for one in await office.messages()}
    assert texts == {f"text {n}" for n in range(100)} | {"Ваш код"}


_NODE_LONG = (
    _BIND
    + """
const parts = process.argv[4].split('|'), got = []; let n = 0;
const run = () => {
  const next = () => n < parts.length ? s.submit_sm({destination_addr: '15005550001', source_addr: 'ACME', esm_class: 0x40,
    registered_delivery: 1, short_message: {udh: Buffer.from([5, 0, 3, 77, parts.length, ++n]), message: parts[n - 1]}},
    (r) => { got.push([r.command_status, r.message_id]); next(); }) : 0;
  next();
};
const receipts = new Set();
s.on('deliver_sm', (p) => { s.send(p.response()); receipts.add(p.receipted_message_id.replace(/\\0/g, ''));
  if (receipts.size === parts.length) s.query_sm({message_id: got[0][1], source_addr: 'ACME'}, (q) =>
    say({all: got.every(([status, id]) => status === 0 && receipts.has(id)), state: q.message_state})); });
"""
)


@pytest.mark.parametrize("text", [LONG, WIDE], ids=["gsm", "ucs2"])
async def test_npm_smpp_sends_parts_one_after_the_other(office: Office, node_peer: Path, text: str) -> None:
    size = 153 if text is LONG else 67
    parts = [text[at : at + size] for at in range(0, len(text), size)]
    found = await node(_NODE_LONG, node_peer, office.port, *office.login(), "|".join(parts))
    assert found == {"all": True, "state": 2}
    (message,) = await office.messages()
    assert message.message.personal.text == text
    await until(lambda: office.smsc.whole_messages == 1)


_NODE_REFUSALS = (
    _BIND
    + """
const ask = (what, fields) => new Promise((done) => s[what](fields, (r) => done(r.command_status)));
const run = async () => {
  const good = {destination_addr: '15005550001', source_addr: 'ACME', short_message: 'x'};
  const tried = {};
  for (const [name, fields] of [['taken', {}], ['to', {destination_addr: '12'}], ['from', {source_addr: 'far too long a name'}],
    ['priority', {priority_flag: 9}], ['default', {sm_default_msg_id: 7}], ['replace', {replace_if_present_flag: 1}],
    ['expired', {validity_period: '200101000000000+'}], ['schedule', {schedule_delivery_time: 'soon'}],
    ['esm', {esm_class: 2}], ['coding', {data_coding: 9, short_message: Buffer.from('x')}]])
    tried[name] = await ask('submit_sm', {...good, ...fields});
  tried.bind = await ask('bind_receiver', {system_id, password});
  tried.multi = await ask('submit_multi', {dest_address: [{dest_flag: 1, destination_addr: '15005550001'}]});
  tried.replace_sm = await ask('replace_sm', {message_id: '1', source_addr: 'ACME', short_message: 'y'});
  tried.query = await ask('query_sm', {message_id: 'none', source_addr: 'ACME'});
  say(tried);
};
"""
)


async def test_npm_smpp_is_refused_by_name(office: Office, node_peer: Path) -> None:
    assert await node(_NODE_REFUSALS, node_peer, office.port, *office.login()) == {
        "taken": 0, "to": 0x0B, "from": 0x0A, "priority": 0x06, "default": 0x63, "replace": 0x54, "expired": 0x62,
        "schedule": 0x61, "esm": 0x43, "coding": 0x104, "bind": 0x05, "multi": 0x03, "replace_sm": 0x03, "query": 0x0C,
    }  # fmt: skip


_NODE_FAST = (
    _BIND
    + """
const statuses = {}; let done = 0;
const run = () => { for (let n = 0; n < 400; n++) s.submit_sm({destination_addr: '15005550004', source_addr: 'ACME',
  short_message: 'n' + n}, (r) => { statuses[r.command_status] = (statuses[r.command_status] || 0) + 1;
  if (++done === 400) say(statuses); }); };
"""
)


async def test_npm_smpp_faster_than_its_key_may(tmp_path: Path, node_peer: Path) -> None:
    office = Office(tmp_path, rate_per_s=50, window=20)
    await office.open()
    try:
        began = time.monotonic()
        statuses = await node(_NODE_FAST, node_peer, office.port, *office.login())
        assert set(statuses) == {"0", "88"}  # ESME_RTHROTTLED
        assert len(await office.messages()) == statuses["0"] <= 51 + 50 * (time.monotonic() - began)
    finally:
        await office.close()


# -- smpplib


class Lib:
    """smpplib as an application uses it; it blocks, so it runs in a thread."""

    def __init__(self, port: int, login: tuple[str, str], kind: str = "transceiver") -> None:
        logging.getLogger("smpp.Client").setLevel(logging.CRITICAL)
        self.sent: list[str] = []
        self.errors: list[int] = []
        self.got: list[Any] = []
        self.client = smpplib.client.Client("127.0.0.1", port, allow_unknown_opt_params=True, timeout=30)
        self.client.set_message_sent_handler(lambda pdu: self.sent.append(pdu.message_id.decode()))
        self.client.set_message_received_handler(lambda pdu: self.got.append(pdu) or 0)
        self.client.set_error_pdu_handler(lambda pdu: self.errors.append(pdu.status))
        self.client.connect()
        try:
            getattr(self.client, f"bind_{kind}")(system_id=login[0], password=login[1])
        except smpplib.exceptions.PDUError:
            self.client.disconnect()
            raise

    def read(self, enough: Any, timeout_s: float = 8) -> None:
        end_s = time.monotonic() + timeout_s
        while not enough() and time.monotonic() < end_s:
            self.client.read_once()

    def receipts(self) -> list[str]:
        return [pdu.receipted_message_id.decode() for pdu in self.got if pdu.esm_class & 4]

    def close(self) -> None:
        self.client.unbind()
        self.client.disconnect()


def _lib_long(port: int, login: tuple[str, str], text: str) -> tuple[list[str], list[str]]:
    lib = Lib(port, login)
    pieces, coding, flag = smpplib.gsm.make_parts(text)
    for piece in pieces:
        lib.client.send_message(
            source_addr_ton=5, source_addr="ACME", dest_addr_ton=1, dest_addr_npi=1, destination_addr=NUMBER,
            short_message=piece, data_coding=coding, esm_class=flag, registered_delivery=True,
        )  # fmt: skip
    lib.read(lambda: len(lib.receipts()) == len(pieces))
    lib.close()
    return lib.sent, lib.receipts()


@pytest.mark.parametrize(
    "text", ["Grüße [ok] €5 @", "Ваш код 😀", LONG, WIDE], ids=["gsm", "ucs2", "long", "long-ucs2"]
)
async def test_smpplib(office: Office, text: str) -> None:
    sent, receipts = await asyncio.to_thread(_lib_long, office.port, office.login(), text)
    assert len(sent) == len(set(sent)) >= 1
    assert sorted(receipts) == sorted(sent)
    (message,) = await office.messages()
    assert (message.message.personal.text, message.message.personal.sender) == (text, "ACME")


def _lib_away(port: int, login: tuple[str, str], count: int) -> tuple[list[str], list[str]]:
    writer = Lib(port, login, "transmitter")
    for n in range(count):
        writer.client.send_message(
            source_addr="ACME", destination_addr=NUMBER, short_message=b"text %d" % n, registered_delivery=1
        )
    writer.read(lambda: len(writer.sent) == count)
    writer.close()
    time.sleep(0.5)
    reader = Lib(port, login, "receiver")
    reader.read(lambda: len(reader.receipts()) == count)
    reader.close()
    return writer.sent, reader.receipts()


async def test_smpplib_transmitter_then_receiver(office: Office) -> None:
    sent, receipts = await asyncio.to_thread(_lib_away, office.port, office.login(), 20)
    assert len(set(sent)) == 20
    assert sorted(receipts) == sorted(sent)


async def test_smpplib_wrong_password(office: Office) -> None:
    with pytest.raises(smpplib.exceptions.PDUError) as caught:
        await asyncio.to_thread(Lib, office.port, (office.login()[0], "wrong"))
    assert caught.value.args[1] == smpplib.consts.SMPP_ESME_RINVPASWD


# -- smpp34 (Rust)


async def test_smpp34(office: Office) -> None:
    client = smpp34.Client("127.0.0.1", office.port, *office.login(), bind_type="TRX")
    session = await client.connect()
    answers = await asyncio.gather(
        *(session.submit_sm(NUMBER, b"text %d" % n, source_addr="ACME", registered_delivery=1) for n in range(300))
    )
    ids = {answer.message_id for answer in answers}
    assert len(ids) == 300
    receipts = set[str]()
    while len(receipts) < 300:
        event = await asyncio.wait_for(session.next(), 30)
        assert isinstance(event, smpp34.DeliverSmEvent)
        fields = dict(field.split(":", 1) for field in event.short_message.decode().split() if ":" in field)
        tlvs = {tlv.tag: tlv.value for tlv in event.tlvs}
        assert tlvs[smpp34.TLV_RECEIPTED_MESSAGE_ID].rstrip(b"\0").decode() == fields["id"]
        assert (tlvs[smpp34.TLV_MESSAGE_STATE], fields["stat"], event.esm_class) == (b"\x02", "DELIVRD", 4)
        receipts.add(fields["id"])
    assert receipts == ids
    await session.unbind()


async def test_smpp34_hears_people(office: Office) -> None:
    session = await smpp34.Client("127.0.0.1", office.port, *office.login(), bind_type="RX").connect()
    office.smsc.inject("+15005550007", "12345", WIDE)
    parts: list[smpp34.DeliverSmEvent] = []
    while b"".join(part.short_message[6:] for part in parts).decode("utf-16-be", "replace") != WIDE:
        event = await asyncio.wait_for(session.next(), 30)
        assert isinstance(event, smpp34.DeliverSmEvent)
        assert (event.source_addr, event.destination_addr, event.data_coding) == ("15005550007", "12345", 8)
        parts = sorted([*parts, event], key=lambda part: part.short_message[5])
    await session.unbind()


# -- aiosmpplib


class _Hook(SimpleHook):
    def __init__(self) -> None:
        self.got: list[Any] = []

    async def received(self, smpp_message: Any, pdu: bytes, client_id: str) -> None:
        self.got.append(smpp_message)

    async def sending(self, smpp_message: Any, pdu: bytes, client_id: str) -> None:
        return None

    async def send_error(self, smpp_message: Any, error: Exception, client_id: str) -> None:
        return None


async def test_aiosmpplib(office: Office) -> None:
    hook = _Hook()
    esme = Esme("127.0.0.1", office.port, *office.login(), hook=hook, log_level=logging.CRITICAL)
    for n, text in enumerate(("short", LONG)):
        await esme.broker.enqueue(
            aiosmpplib.SubmitSm(
                short_message=text,
                source=aiosmpplib.PhoneNumber("12345"),
                destination=aiosmpplib.PhoneNumber("15005550007"),
                log_id=f"id-{n}",
                registered_delivery=1,
                auto_message_payload=True,
            )
        )
    run = asyncio.create_task(esme.start())

    def received(*, receipt: bool) -> list[Any]:
        return [m for m in hook.got if isinstance(m, aiosmpplib.DeliverSm) and m.is_receipt() is receipt]

    await until(lambda: len(received(receipt=True)) == 2 and len(received(receipt=False)) == 2)
    assert {message.short_message for message in received(receipt=False)} == {"YES"}
    assert {one.message.personal.text for one in await office.messages()} == {"short", LONG}
    await esme.stop()
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)


# -- Kannel, a gateway that is itself an SMPP application

_KANNEL = """
group = core
admin-port = {admin}
admin-password = test
admin-interface = "127.0.0.1"
smsbox-port = {box}
smsbox-interface = "127.0.0.1"
box-allow-ip = "127.0.0.1"
log-level = 2

group = smsc
smsc = smpp
smsc-id = tidings
host = 127.0.0.1
port = {port}
smsc-username = {name}
smsc-password = {password}
system-type = ""
transceiver-mode = true
reconnect-delay = 1
source-addr-autodetect = true
dest-addr-ton = 1
dest-addr-npi = 1

group = smsbox
bearerbox-host = 127.0.0.1
sendsms-port = {http}
sendsms-interface = "127.0.0.1"
log-level = 2

group = sendsms-user
username = test
password = test
max-messages = 10
concatenation = true

group = sms-service
keyword = default
get-url = "http://127.0.0.1:{catcher}/mo?from=%p&to=%P&text=%a"
max-messages = 0
"""


class Catcher:
    """Where Kannel calls back."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, str]]] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = (await reader.readline()).decode()
        while (await reader.readline()).strip():
            pass
        where = urllib.parse.urlsplit(line.split()[1])
        self.calls.append((where.path, dict(urllib.parse.parse_qsl(where.query))))
        writer.write(b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()

    def of(self, path: str) -> list[dict[str, str]]:
        return [fields for called, fields in self.calls if called == path]


def _ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    found = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return found


def _send(port: int, **fields: str) -> str:
    query = urllib.parse.urlencode({"username": "test", "password": "test"} | fields)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/cgi-bin/sendsms?{query}", timeout=30) as answer:
        return answer.read().decode()


async def _send_when_up(port: int, **fields: str) -> None:
    end_s = time.monotonic() + 30
    while True:
        try:
            assert "Accepted" in (await asyncio.to_thread(lambda: _send(port, **fields)))
        except OSError:
            assert time.monotonic() < end_s, "Kannel did not start"
            await asyncio.sleep(0.2)
        else:
            return


@pytest.mark.skipif(not shutil.which("bearerbox", path="/usr/sbin:/usr/bin"), reason="Kannel is not installed")
async def test_kannel(office: Office, tmp_path: Path) -> None:
    """A gateway as customers run it moves over by changing host, port and login."""
    catcher = Catcher()
    listener = Listening(catcher.serve)
    here = await listener.start()
    admin, box, http = _ports(3)
    name, password = office.login()
    config = tmp_path / "kannel.conf"
    config.write_text(
        _KANNEL.format(admin=admin, box=box, http=http, port=office.port, name=name, password=password, catcher=here)
    )
    boxes = []
    try:
        for program in ("bearerbox", "smsbox"):
            path = shutil.which(program, path="/usr/sbin:/usr/bin")
            with (tmp_path / f"{program}.log").open("w") as log:
                boxes.append(
                    await asyncio.create_subprocess_exec(str(path), str(config), stdout=log, stderr=log, cwd=tmp_path)
                )
            await asyncio.sleep(1)
        dlr = {"dlr-mask": "19", "dlr-url": f"http://127.0.0.1:{here}/dlr?id=%F&type=%d"}
        await _send_when_up(http, **{"from": "ACME", "to": f"+{NUMBER}", "text": LONG}, **dlr)
        await _send_when_up(
            http, **{"from": "12345", "to": "+15005550007", "text": "Ваш код", "coding": "2", "charset": "UTF-8"}
        )
        await until(lambda: len([c for c in catcher.of("/dlr") if c["type"] == "1"]) >= 1 and catcher.of("/mo"), 20)
        assert {one.message.personal.text for one in await office.messages()} == {LONG, "Ваш код"}
        (reply,) = catcher.of("/mo")
        assert (reply["from"].lstrip("+"), reply["text"]) == ("15005550007", "YES")
    finally:
        for process in reversed(boxes):
            if process.returncode is None:
                process.terminate()
        for process in boxes:
            await asyncio.wait_for(process.wait(), 30)
        await listener.stop()


# -- the server as it is started


@pytest.fixture
def served(tmp_path: Path, free_port: int) -> Any:
    key = "tk_live_" + "5" * 48
    settings = f'[smpp_server]\nlisten = "127.0.0.1:{free_port}"\n'
    process, url = start_server(tmp_path / "data", key, settings)
    yield Api(url=url, key=key, data=tmp_path / "data", pid=process.pid), free_port
    stop_server(process)


async def test_tidings_serve_listens(served: tuple[Api, int], node_peer: Path) -> None:
    """With a whole API key as password, for clients that do not count its characters."""
    api, port = served
    made = api.call("POST", "/v1/keys", {"name": "smpp", "mode": "test", "scopes": ["messages:*"]}).json
    wire = smpp34.Client("127.0.0.1", port, "shop", "wrong", bind_type="TRX", connect_timeout_ms=30_000)
    with pytest.raises(smpp34.SmppError):
        await wire.connect()
    found = await node(_NODE_ROUND, node_peer, port, "shop", made["key"])
    assert (found["ids"], found["same"]) == (101, True)
    listed = api.call("GET", "/v1/messages?limit=200", key=made["key"]).json["data"]
    assert len(listed) == 101
    assert {one["metadata"]["smpp"]["account"] for one in listed} == {made["id"]}
    assert api.call("DELETE", f"/v1/keys/{made['id']}").status == 204
