"""The sandbox SMSC judged by clients that others wrote: smpp34, smpplib, aiosmpplib, npm `smpp`."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiosmpplib
import pytest
import smpp34
import smpplib.client
import smpplib.consts
import smpplib.exceptions
from aiosmpplib.hook import SimpleHook

from peers.carriers import until
from peers.esme import Esme
from tidings.sandbox.sms import SandboxSmsc

COUNT = 50
NUMBER = "15005550001"


@pytest.fixture
async def smsc() -> AsyncIterator[SandboxSmsc]:
    smsc = SandboxSmsc(receipt_delay_s=0.02)
    await smsc.start()
    yield smsc
    await smsc.stop()


async def test_smpp34(smsc: SandboxSmsc) -> None:
    client = smpp34.Client("127.0.0.1", smsc.port, "sandbox", "sandbox", bind_type="TRX")
    session = await client.connect()
    answers = await asyncio.gather(
        *(session.submit_sm(NUMBER, b"text %d" % n, source_addr="ACME", registered_delivery=1) for n in range(COUNT))
    )
    ids = {answer.message_id for answer in answers}
    assert len(ids) == COUNT
    receipts = set[str]()
    while len(receipts) < COUNT:
        event = await asyncio.wait_for(session.next(), 30)
        assert isinstance(event, smpp34.DeliverSmEvent)
        assert event.esm_class == 4
        assert (event.source_addr, event.destination_addr) == (NUMBER, "ACME")
        fields = dict(field.split(":", 1) for field in event.short_message.decode().split() if ":" in field)
        assert fields["stat"] == "DELIVRD"
        tlvs = {tlv.tag: tlv.value for tlv in event.tlvs}
        assert tlvs[smpp34.TLV_RECEIPTED_MESSAGE_ID].rstrip(b"\0").decode() == fields["id"]
        assert tlvs[smpp34.TLV_MESSAGE_STATE] == b"\x02"
        receipts.add(fields["id"])
    assert receipts == ids
    await until(lambda: smsc.acknowledged_deliveries == COUNT)
    await session.unbind()


async def test_smpp34_wrong_password(smsc: SandboxSmsc) -> None:
    # smpp34 tells no refused bind from one that is never answered; it must not be bound in either case.
    client = smpp34.Client("127.0.0.1", smsc.port, "sandbox", "wrong", bind_type="TRX", connect_timeout_ms=30_000)
    with pytest.raises(smpp34.SmppError):
        await client.connect()


async def test_smpp34_receives_a_long_message(smsc: SandboxSmsc) -> None:
    session = await smpp34.Client("127.0.0.1", smsc.port, "sandbox", "sandbox", bind_type="RX").connect()
    text = "Größe 😀 " * 20
    assert smsc.inject("+15005550007", "12345", text) == 3
    parts: list[smpp34.DeliverSmEvent] = []
    while len(parts) < 3:
        event = await asyncio.wait_for(session.next(), 30)
        assert isinstance(event, smpp34.DeliverSmEvent)
        parts.append(event)
    assert {(part.esm_class, part.data_coding, part.short_message[:3]) for part in parts} == {(0x40, 8, b"\5\0\3")}
    parts.sort(key=lambda part: part.short_message[5])
    assert b"".join(part.short_message[6:] for part in parts).decode("utf-16-be") == text
    await session.unbind()


def _smpplib_round(port: int) -> dict[str, Any]:
    """Runs in a thread: smpplib blocks."""
    logging.getLogger("smpp.Client").setLevel(logging.CRITICAL)
    ids, receipts = set[str](), list[bytes]()
    client = smpplib.client.Client("127.0.0.1", port, allow_unknown_opt_params=True, timeout=30)
    client.set_message_sent_handler(lambda pdu: ids.add(pdu.message_id.decode()))
    client.set_message_received_handler(lambda pdu: receipts.append(pdu.receipted_message_id) or 0)
    client.connect()
    client.bind_transceiver(system_id="sandbox", password="sandbox")
    for n in range(COUNT):
        client.send_message(
            source_addr="ACME", destination_addr=NUMBER, short_message=b"text %d" % n, registered_delivery=1
        )
    end = time.monotonic() + 30
    while (len(ids) < COUNT or len(receipts) < COUNT) and time.monotonic() < end:
        client.read_once()
    client.unbind()
    client.disconnect()
    return {"ids": ids, "receipts": {receipt.decode() for receipt in receipts}}


async def test_smpplib(smsc: SandboxSmsc) -> None:
    found = await asyncio.to_thread(_smpplib_round, smsc.port)
    assert len(found["ids"]) == COUNT
    assert found["receipts"] == found["ids"]


def _smpplib_refused(port: int) -> int:
    logging.getLogger("smpp.Client").setLevel(logging.CRITICAL)
    client = smpplib.client.Client("127.0.0.1", port, allow_unknown_opt_params=True, timeout=30)
    client.connect()
    try:
        client.bind_transceiver(system_id="sandbox", password="wrong")
    except smpplib.exceptions.PDUError as error:
        return int(error.args[1])
    finally:
        client.disconnect()
    return 0


async def test_smpplib_wrong_password(smsc: SandboxSmsc) -> None:
    assert await asyncio.to_thread(_smpplib_refused, smsc.port) == smpplib.consts.SMPP_ESME_RINVPASWD


class _Hook(SimpleHook):
    """Collects what aiosmpplib received."""

    def __init__(self) -> None:
        self.got: list[Any] = []

    async def received(self, smpp_message: Any, pdu: bytes, client_id: str) -> None:
        self.got.append(smpp_message)

    async def sending(self, smpp_message: Any, pdu: bytes, client_id: str) -> None:
        return None

    async def send_error(self, smpp_message: Any, error: Exception, client_id: str) -> None:
        return None


async def test_aiosmpplib(smsc: SandboxSmsc) -> None:
    hook = _Hook()
    esme = Esme("127.0.0.1", smsc.port, "sandbox", "sandbox", hook=hook, log_level=logging.CRITICAL)
    for n in range(5):
        await esme.broker.enqueue(
            aiosmpplib.SubmitSm(
                short_message=f"text {n}",
                source=aiosmpplib.PhoneNumber("12345"),
                destination=aiosmpplib.PhoneNumber("15005550007"),
                log_id=f"id-{n}",
                registered_delivery=1,
            )
        )
    run = asyncio.create_task(esme.start())

    def received(*, receipt: bool) -> list[Any]:
        return [m for m in hook.got if isinstance(m, aiosmpplib.DeliverSm) and m.is_receipt() is receipt]

    await until(lambda: len(received(receipt=True)) == 5 and len(received(receipt=False)) == 5)
    assert {message.short_message for message in received(receipt=False)} == {"YES"}
    await esme.stop()
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)


_NODE = """
const smpp = require('smpp'); const ids = new Set(); const receipts = new Set(); let replies = [];
const s = smpp.connect({url: 'smpp://127.0.0.1:' + process.argv[1]}, () => {
  s.bind_transceiver({system_id: 'sandbox', password: 'sandbox'}, (b) => {
    if (b.command_status) { console.log(JSON.stringify({bind: b.command_status})); process.exit(1); }
    for (let n = 0; n < 50; n++) s.submit_sm({destination_addr: n ? '15005550001' : '15005550008', source_addr: '12345',
      registered_delivery: 1, short_message: 'text ' + n}, (r) => ids.add(r.message_id));
  });
});
s.on('deliver_sm', (p) => {
  s.send(p.response());
  if (p.esm_class & 4) receipts.add(p.receipted_message_id); else replies.push(p.short_message.message);
  if (receipts.size === 50 && replies.length === 1) s.enquire_link({}, () => {
    console.log(JSON.stringify({same: [...ids].every((id) => receipts.has(id)), ids: ids.size, replies}));
    s.unbind({}, () => process.exit(0));
  });
});
setTimeout(() => {
  console.log(JSON.stringify({ids: ids.size, receipts: receipts.size, replies}));
  process.exit(2);
}, 8000);
"""


async def test_npm_smpp(smsc: SandboxSmsc, node_peer: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        "node", "-e", _NODE, str(smsc.port), cwd=node_peer, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await asyncio.wait_for(process.communicate(), 30)
    assert json.loads(out) == {"same": True, "ids": 50, "replies": ["STOP"]}


_NODE_STATES = """
const smpp = require('smpp'); const seen = [];
const s = smpp.connect({url: 'smpp://127.0.0.1:' + process.argv[1]}, () => {
  s.submit_sm({destination_addr: '1', short_message: 'x'}, (unbound) => {
    s.bind_receiver({system_id: 'sandbox', password: 'sandbox'}, (bind) => {
      s.submit_sm({destination_addr: '1', short_message: 'x'}, (receiver) => {
        s.bind_receiver({system_id: 'sandbox', password: 'sandbox'}, (again) => {
          s.query_sm({message_id: '1'}, (query) => {
            console.log(JSON.stringify([unbound, bind, receiver, again, query].map((p) => p.command_status)));
            process.exit(0);
          });
        });
      });
    });
  });
});
"""


async def test_npm_smpp_wrong_states(smsc: SandboxSmsc, node_peer: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        "node", "-e", _NODE_STATES, str(smsc.port), cwd=node_peer, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await asyncio.wait_for(process.communicate(), 30)
    # ESME_RINVBNDSTS, bound, ESME_RINVBNDSTS, ESME_RALYBND, ESME_RINVCMDID. Source: SMPP 3.4 §2.3, §5.1.3
    assert json.loads(out) == [4, 0, 4, 5, 3]
