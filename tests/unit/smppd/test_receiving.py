"""Receipts and inbound messages on their way to the client: nothing is lost while it is away, slow, or says "not now"."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from tidings.domain.errors import StoreError
from tidings.protocols.smpp import constants as c
from tidings.protocols.smpp.concat import read_user_data
from tidings.protocols.smpp.constants import Status
from tidings.protocols.smpp.pdu import decode_sm
from tidings.protocols.smpp.receipt import parse_receipt
from tidings.smppd import pump
from tidings.smppd.server import SmppServer
from unit.smppd.conftest import Opener
from unit.smppd.office import Office, Wire, until


def id_of(body: bytes) -> str:
    receipt = parse_receipt(decode_sm(body))
    assert receipt is not None
    return receipt.message_id


def text_of(body: bytes) -> str | None:
    return read_user_data(decode_sm(body)).text


async def submitted(office: Office, count: int) -> list[str]:
    """Messages that were sent and delivered while no receiver was there."""
    wire = await Wire.bound(office, command=c.BIND_TRANSMITTER)
    sent = [await wire.submit(registered_delivery=1) for _ in range(count)]
    assert {status for status, _ in sent} == {0}
    await wire.close()
    async with asyncio.timeout(30):
        while (await office.rows("select count(*) from messages where status = 'delivered'"))[0][0] < count:
            await asyncio.sleep(0.02)
    return [id for _, id in sent]


async def test_receipts_wait_for_the_receiver(office: Office) -> None:
    sent = await submitted(office, 5)
    receiver = await Wire.bound(office, command=c.BIND_RECEIVER)
    assert sorted([id_of(await receiver.delivered()) for _ in sent]) == sorted(sent)
    await receiver.close()
    again = await Wire.bound(office, command=c.BIND_RECEIVER)
    with pytest.raises(TimeoutError):
        await again.read(0.8)


async def test_receipts_wait_across_a_restart(office: Office) -> None:
    sent = await submitted(office, 3)
    await office.stop()
    await office.start()
    receiver = await Wire.bound(office, command=c.BIND_RECEIVER)
    assert sorted([id_of(await receiver.delivered()) for _ in sent]) == sorted(sent)


async def test_what_was_not_acknowledged_comes_again(office: Office) -> None:
    sent = await submitted(office, 4)
    receiver = await Wire.bound(office, command=c.BIND_RECEIVER)
    first = id_of(await receiver.delivered())
    unread = [id_of((await receiver.read())[3]) for _ in range(3)]
    receiver.writer.transport.abort()
    again = await Wire.bound(office, command=c.BIND_RECEIVER)
    got = [id_of(await again.delivered()) for _ in unread]
    assert sorted(got) == sorted(unread)
    assert sorted([first, *unread]) == sorted(sent)


async def test_without_an_answer_the_session_ends_and_it_comes_again(open_office: Opener) -> None:
    office = await open_office(response_timeout_s=0.3)
    (sent,) = await submitted(office, 1)
    receiver = await Wire.bound(office, command=c.BIND_RECEIVER)
    assert id_of((await receiver.read())[3]) == sent
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await receiver.read()
    again = await Wire.bound(office, command=c.BIND_RECEIVER)
    assert id_of(await again.delivered()) == sent


@pytest.mark.parametrize("status", [Status.ESME_RX_T_APPN, Status.ESME_RMSGQFUL, Status.ESME_RTHROTTLED])
async def test_not_now_is_tried_again(office: Office, monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    monkeypatch.setattr(pump, "RETRY_FIRST_S", 0.05)
    (sent,) = await submitted(office, 1)
    receiver = await Wire.bound(office, command=c.BIND_RECEIVER)
    assert [id_of(await receiver.delivered(status)) for _ in range(2)] == [sent, sent]
    assert id_of(await receiver.delivered()) == sent


async def test_a_final_no_is_not(office: Office) -> None:
    await submitted(office, 1)
    receiver = await Wire.bound(office, command=c.BIND_RECEIVER)
    await receiver.delivered(Status.ESME_RX_R_APPN)
    office.smsc.inject("+15005550001", "12345", "hi")
    assert text_of(await receiver.delivered()) == "hi"


async def test_the_window_of_what_is_delivered(open_office: Opener) -> None:
    office = await open_office(window=3)
    await submitted(office, 8)
    receiver = await Wire.bound(office, command=c.BIND_RECEIVER)
    got = [await receiver.read() for _ in range(3)]
    with pytest.raises(TimeoutError):
        await receiver.read(0.3)
    receiver.write(c.DELIVER_SM_RESP, b"\0", sequence=got[1][2])
    assert (await receiver.read())[0] == c.DELIVER_SM
    with pytest.raises(TimeoutError):
        await receiver.read(0.3)


async def test_several_receivers_take_turns(office: Office) -> None:
    sent = await submitted(office, 40)
    receivers = [await Wire.bound(office, command=c.BIND_RECEIVER) for _ in range(2)]
    seen: Counter[str] = Counter()
    shares = [0, 0]

    async def take(n: int) -> None:
        while True:
            seen[id_of(await receivers[n].delivered())] += 1
            shares[n] += 1

    tasks = [asyncio.create_task(take(n)) for n in range(2)]
    await until(lambda: len(seen) == 40)
    for _ in range(2):  # what comes now takes turns
        office.smsc.inject("+15005550001", "12345", "hi")
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert seen == Counter(sent)


async def test_messages_of_people_go_to_every_key_of_the_project(office: Office) -> None:
    await office.key("second")
    one, two, live = [await Wire.bound(office, name) for name in ("test", "second", "live")]
    office.smsc.inject("+15005550001", "12345", "Ж" * 80)
    for wire in (one, two):
        bodies = [await wire.delivered() for _ in range(2)]
        assert "".join(text_of(body) or "" for body in bodies) == "Ж" * 80
    with pytest.raises(TimeoutError):
        await live.read(0.5)


async def test_two_processes_never_deliver_to_a_key_at_once(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one waits for the lease of the first, and goes on where that one stopped."""
    node = office.node
    other = SmppServer(
        office.settings, office.store, office.ring, node.bus, node.acceptor, node.control, node.now, only_process=False
    )
    await other.start()
    try:
        sent = await submitted(office, 2)
        first = await Wire.bound(office, command=c.BIND_RECEIVER)
        assert sorted([id_of(await first.delivered()) for _ in sent]) == sorted(sent)
        kept, office.server = office.server, other
        second = await Wire.bound(office, command=c.BIND_RECEIVER)
        office.server = kept
        later = await submitted(office, 2)
        assert sorted([id_of(await first.delivered()) for _ in later]) == sorted(later)
        with pytest.raises(TimeoutError):
            await second.read(0.5)
        await first.close()
        last = await submitted(office, 1)
        assert id_of(await second.delivered()) == last[0]
    finally:
        await other.stop()


async def test_a_store_that_fails_delays_receipts_and_loses_none(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures, inner = 3, office.store.webhooks.follow

    async def follow(*args):
        nonlocal failures
        if failures:
            failures -= 1
            raise StoreError("planted")
        return await inner(*args)

    office.store.webhooks.follow = follow
    (sent,) = await submitted(office, 1)
    receiver = await Wire.bound(office, command=c.BIND_RECEIVER)
    assert id_of(await receiver.delivered()) == sent
    assert not failures
