"""Sessions as a client of bare octets sees them: binds, states, refusals, windows, time-outs."""

from __future__ import annotations

import asyncio
import random
import time

import pytest

from tidings.domain.errors import Overloaded, StoreFull
from tidings.kit.clock import wall_ms
from tidings.protocols.smpp import constants as c
from tidings.protocols.smpp.constants import Status
from tidings.protocols.smpp.pdu import Bind, encode_bind, encode_sm, pdu
from tidings.smppd import config
from tidings.smppd.server import SmppServer
from unit.smppd.conftest import Opener
from unit.smppd.office import Office, Wire, sm, until


def bind_body(system_id: str, password: str) -> bytes:
    """Also with passwords that the specification has no room for."""
    return system_id.encode() + b"\0" + password.encode() + b"\0\0\x34\0\0\0"


async def bind_status(office: Office, system_id: str, password: str, command: int = c.BIND_TRANSCEIVER) -> int:
    wire = await Wire.connect(office)
    status, _ = await wire.ask(command, bind_body(system_id, password))
    await wire.close()
    return status


# -- who binds


async def test_name_and_password_or_the_whole_key(office: Office) -> None:
    name, password = office.login()
    assert (len(name), len(password)) == (15, 8)
    assert await bind_status(office, name, password) == 0
    assert await bind_status(office, "anything", office.tokens["test"]) == 0
    assert await bind_status(office, name, password[:-1] + "!") == Status.ESME_RINVPASWD
    assert await bind_status(office, name, "") == Status.ESME_RINVPASWD
    assert await bind_status(office, "0" * 15, password) == Status.ESME_RINVSYSID
    assert await bind_status(office, name, office.login("live")[1]) == Status.ESME_RINVPASWD
    assert await bind_status(office, name, "tk_test_" + "0" * 48) == Status.ESME_RINVPASWD


@pytest.mark.parametrize(
    ("scopes", "good"),
    [
        (("*",), {"transmitter", "receiver", "transceiver"}),
        (("messages:*",), {"transmitter", "receiver", "transceiver"}),
        (("messages:write",), {"transmitter"}),
        (("messages:read",), {"receiver"}),
        (("providers:*",), set[str]()),
    ],
)
async def test_scopes(office: Office, scopes: tuple[str, ...], good: set[str]) -> None:
    await office.key("narrow", scopes=scopes)
    commands = {"transmitter": c.BIND_TRANSMITTER, "receiver": c.BIND_RECEIVER, "transceiver": c.BIND_TRANSCEIVER}
    answers = {kind: await bind_status(office, *office.login("narrow"), command) for kind, command in commands.items()}
    assert {kind for kind, status in answers.items() if status == 0} == good
    assert {status for kind, status in answers.items() if kind not in good} <= {Status.ESME_RBINDFAIL}


async def test_an_expired_key(office: Office) -> None:
    await office.key("old", expires_ms=wall_ms() - 1)
    assert await bind_status(office, *office.login("old")) == Status.ESME_RINVPASWD
    assert await bind_status(office, "x", office.tokens["old"]) == Status.ESME_RINVPASWD


async def test_a_revoked_key_ends_its_sessions(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    wire = await Wire.bound(office)
    other = await Wire.bound(office, "live")
    await office.store.keys.revoke(office.keys["test"].project, office.keys["test"].id, wall_ms())
    command, _, sequence, _ = await wire.read(config.KEY_CHECK_S + 2)
    assert command == c.UNBIND
    assert (await wire.submit())[0] == Status.ESME_RINVBNDSTS
    wire.write(c.UNBIND_RESP, sequence=sequence)
    await wire.ended()
    assert await bind_status(office, *office.login()) == Status.ESME_RINVSYSID
    assert (await other.ask(c.ENQUIRE_LINK))[0] == 0


async def test_guessing_runs_out(office: Office) -> None:
    name, password = office.login()
    answers = [await bind_status(office, name, f"wrong{n}") for n in range(config.FAILURES_PER_NAME + 2)]
    assert answers[:-2] == [Status.ESME_RINVPASWD] * config.FAILURES_PER_NAME
    assert answers[-2:] == [Status.ESME_RBINDFAIL] * 2
    assert await bind_status(office, name, password) == Status.ESME_RBINDFAIL, "the right guess was told"
    assert await bind_status(office, *office.login("live")) == 0


async def test_a_name_that_others_guess_at_still_binds_from_where_it_did(office: Office) -> None:
    name, password = office.login()
    assert await bind_status(office, name, password) == 0
    for n in range(config.FAILURES_PER_NAME + 1):
        office.server._throttle.failed(f"198.51.100.{n}", name)
    assert await bind_status(office, name, password) == 0


# -- states


async def test_states(office: Office) -> None:
    wire = await Wire.connect(office)
    assert (await wire.ask(c.ENQUIRE_LINK))[0] == 0
    assert (await wire.submit())[0] == Status.ESME_RINVBNDSTS
    assert (await wire.ask(c.UNBIND))[0] == Status.ESME_RINVBNDSTS
    name, password = office.login()
    status, body = await wire.ask(c.BIND_RECEIVER, bind_body(name, password))
    assert (status, body) == (0, b"tidings\0" + bytes.fromhex("0210000134"))
    assert (await wire.ask(c.BIND_RECEIVER, bind_body(name, password)))[0] == Status.ESME_RALYBND
    for command in (c.SUBMIT_SM, c.DATA_SM, c.QUERY_SM, c.CANCEL_SM):
        assert (await wire.ask(command, encode_sm(sm())))[0] == Status.ESME_RINVBNDSTS
    assert (await wire.ask(0x77))[0] == Status.ESME_RINVCMDID
    assert (await wire.ask(c.SUBMIT_MULTI))[0] == Status.ESME_RINVCMDID
    assert (await wire.ask(c.REPLACE_SM))[0] == Status.ESME_RINVCMDID
    assert (await wire.ask(c.UNBIND))[0] == 0
    await wire.ended()


async def test_an_old_client_gets_no_tlvs(office: Office) -> None:
    wire = await Wire.connect(office)
    name, password = office.login()
    body = encode_bind(Bind(system_id=name, password=password, interface_version=0x33))
    assert await wire.ask(c.BIND_TRANSCEIVER, body) == (0, b"tidings\0")
    await wire.submit(registered_delivery=1)
    assert (await wire.delivered()).endswith(b"text:hello")
    await wire.close()


async def test_a_length_out_of_bounds_ends_the_session(office: Office) -> None:
    wire = await Wire.bound(office)
    wire.writer.write(pdu(c.ENQUIRE_LINK, 0, 7) + b"\x7f\xff\xff\xff" + b"\0" * 12)
    assert (await wire.read())[:3] == (c.ENQUIRE_LINK_RESP, 0, 7)
    assert (await wire.read())[:2] == (c.GENERIC_NACK, Status.ESME_RINVCMDLEN)
    await wire.ended()


async def test_who_does_not_bind_is_closed(open_office: Opener) -> None:
    office = await open_office(bind_timeout_s=0.2)
    silent, slow = [await Wire.connect(office) for _ in range(2)]
    slow.writer.write(b"\0\0\0\x2a\0\0")
    for wire in (silent, slow):
        await wire.ended()
    await until(lambda: not office.server._lobby)


async def test_a_large_pdu_without_a_bind_is_not_waited_for(open_office: Opener) -> None:
    office = await open_office(bind_timeout_s=60.0)  # which is not what ends it
    greedy = await Wire.connect(office)
    greedy.writer.write(b"\0\0\x20\0" + b"\0" * 4_000)  # 8 kB
    await greedy.ended()
    await until(lambda: not office.server._lobby)


async def test_half_open_connections_make_room(open_office: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidings.smppd.server.UNBOUND", 20)
    office = await open_office(bind_timeout_s=60.0)
    idle = [await Wire.connect(office) for _ in range(60)]
    wire = await Wire.bound(office)
    assert (await wire.submit())[0] == 0
    assert len(office.server._lobby) <= 20
    for one in idle:
        one.writer.transport.abort()


async def test_connections_have_an_end(open_office: Opener) -> None:
    office = await open_office(max_connections=2)
    one, _ = [await Wire.bound(office) for _ in range(2)]
    assert await bind_status(office, *office.login("live")) == Status.ESME_RBINDFAIL
    assert (await one.ask(c.UNBIND))[0] == 0
    await one.ended()
    assert await bind_status(office, *office.login("live")) == 0


async def test_a_silent_link_is_asked_and_then_given_up(open_office: Opener) -> None:
    office = await open_office(enquire_link_s=0.2, response_timeout_s=2.0)
    wire = await Wire.bound(office)
    for _ in range(3):  # as long as it answers it lives
        command, _, sequence, _ = await wire.read()
        assert command == c.ENQUIRE_LINK
        wire.write(c.ENQUIRE_LINK_RESP, sequence=sequence)
    await wire.ended()


# -- submits


async def test_many_submits_of_one_read_are_one_commit(office: Office) -> None:
    wire = await Wire.bound(office)
    asked: list[int] = []
    inner = office.node.acceptor.accept

    async def counted(project, mode, wants):
        asked.append(len(wants))
        return await inner(project, mode, wants)

    office.node.acceptor.accept = counted
    wire.writer.write(b"".join(pdu(c.SUBMIT_SM, 0, n, encode_sm(sm(text=b"m%d" % n))) for n in range(1, 81)))
    answers = [await wire.read() for _ in range(80)]
    assert [(command, status, sequence) for command, status, sequence, _ in answers] == [
        (c.SUBMIT_SM_RESP, 0, n) for n in range(1, 81)
    ]
    assert sum(asked) == 80
    assert len(asked) <= 5
    found = await office.messages()
    assert [one.message.personal.text for one in found] == [f"m{n}" for n in range(1, 81)]
    assert {one.message.mode for one in found} == {"test"}


async def test_live_keys_send_live(office: Office) -> None:
    wire = await Wire.bound(office, "live")
    assert (await wire.submit(to="+14155550100"))[0] == 0
    await until(lambda: office.carrier.messages)
    assert [one.message.mode for one in await office.messages()] == ["live"]
    assert not office.smsc.messages


async def _overdrive(office: Office, enough: int) -> int:
    """How many of 300 submits the server took in hand while none of them could be stored: `enough`, or more."""
    taken, gate, inner = 0, asyncio.Event(), office.node.acceptor.accept

    async def gated(project, mode, wants):
        nonlocal taken
        taken += len(wants)
        await gate.wait()
        return await inner(project, mode, wants)

    office.node.acceptor.accept = gated
    wire = await Wire.bound(office)
    wire.writer.write(b"".join(pdu(c.SUBMIT_SM, 0, n, encode_sm(sm(text=b"x" * 150))) for n in range(1, 301)))
    await until(lambda: taken)
    (session,) = office.server._sessions
    await until(lambda: session.waiting >= enough)
    await asyncio.sleep(0.1)
    waiting = session.waiting
    gate.set()
    for n in range(1, 301):
        assert (await wire.read())[:3] == (c.SUBMIT_SM_RESP, 0, n)
    await wire.close()
    return waiting


async def test_no_more_than_the_window_is_taken_in_hand(open_office: Opener) -> None:
    assert await _overdrive(await open_office(window=10), 10) == 10


async def test_saboteur_without_the_window_all_of_it_is(open_office: Opener) -> None:
    assert await _overdrive(await open_office(window=1 << 30), 300) == 300


async def _answered_before_the_commit(office: Office, patience_s: float) -> bool:
    """Whether a submit is answered while the store does not commit, for `patience_s`."""
    gate, inner = asyncio.Event(), office.engine.write

    async def gated(fn, items):
        if fn.__module__.endswith(".accept"):
            await gate.wait()
        return await inner(fn, items)

    wire = await Wire.bound(office)
    office.engine.write = gated
    wire.write(c.SUBMIT_SM, encode_sm(sm()))
    try:
        command, status, _, _ = await wire.read(patience_s)
        answered = (command, status) == (c.SUBMIT_SM_RESP, 0)
    except TimeoutError:
        answered = False
    gate.set()
    if not answered:
        assert (await wire.read())[:2] == (c.SUBMIT_SM_RESP, 0)
    await until(lambda: office.smsc.messages)
    await wire.close()
    return answered


async def test_answered_only_after_the_commit(office: Office) -> None:
    assert not await _answered_before_the_commit(office, 0.3)


async def test_saboteur_an_answer_before_the_commit_is_seen(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting: list[asyncio.Task] = []

    async def hasty(self, account, batch):
        waiting.append(asyncio.create_task(self._intake.answer(account, batch)))
        return [(0, b"early\0") for _ in batch]

    monkeypatch.setattr(SmppServer, "answer", hasty)
    assert await _answered_before_the_commit(office, 30)
    await asyncio.gather(*waiting)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (StoreFull("full"), Status.ESME_RMSGQFUL),
        (Overloaded("busy", status=503), Status.ESME_RMSGQFUL),
        (Overloaded("rate", status=429), Status.ESME_RTHROTTLED),
    ],
)
async def test_what_is_not_stored_is_refused(office: Office, error: Exception, status: int) -> None:
    async def refusing(project, mode, wants):
        raise error

    wire = await Wire.bound(office)
    kept, office.node.acceptor.accept = office.node.acceptor.accept, refusing
    assert (await wire.submit())[0] == status
    office.node.acceptor.accept = kept
    assert (await wire.submit())[0] == 0
    assert len(await office.messages()) == 1


async def test_the_rate_of_the_key_over_all_its_sessions(open_office: Opener) -> None:
    office = await open_office(rate_per_s=5)
    wires = [await Wire.bound(office) for _ in range(2)]
    began = time.monotonic()
    statuses: list[int] = []
    for wire in wires:  # at once: one after the other a slow machine might stay below the rate
        wire.writer.write(b"".join(pdu(c.SUBMIT_SM, 0, n, encode_sm(sm())) for n in range(1, 31)))
    for wire in wires:
        statuses += [(await wire.read())[1] for _ in range(30)]
    assert set(statuses) == {0, Status.ESME_RTHROTTLED}
    assert 5 <= statuses.count(0) <= 6 + 5 * (time.monotonic() - began)
    assert len(await office.messages()) == statuses.count(0)


async def test_an_unbind_is_answered_behind_the_submits_before_it(office: Office) -> None:
    wire = await Wire.bound(office)
    submits = b"".join(pdu(c.SUBMIT_SM, 0, n, encode_sm(sm())) for n in (1, 2, 3))
    wire.writer.write(submits + pdu(c.UNBIND, 0, 4) + pdu(c.SUBMIT_SM, 0, 5, encode_sm(sm())))
    got = [(await wire.read())[:3] for _ in range(4)]
    assert got == [*((c.SUBMIT_SM_RESP, 0, n) for n in (1, 2, 3)), (c.UNBIND_RESP, 0, 4)]
    await wire.ended()
    assert len(await office.messages()) == 3


async def test_stopping_unbinds_and_answers_what_is_under_way(office: Office) -> None:
    gate, inner = asyncio.Event(), office.node.acceptor.accept

    async def gated(project, mode, wants):
        await gate.wait()
        return await inner(project, mode, wants)

    office.node.acceptor.accept = gated
    wire = await Wire.bound(office)
    wire.write(c.SUBMIT_SM, encode_sm(sm()))
    await until(lambda: next(iter(office.server._sessions)).waiting)
    stopping = asyncio.create_task(office.server.stop())
    assert (await wire.read())[0] == c.UNBIND
    wire.write(c.UNBIND_RESP)
    await asyncio.sleep(0.05)
    gate.set()
    assert (await wire.read())[:2] == (c.SUBMIT_SM_RESP, 0)
    await wire.ended()
    await asyncio.wait_for(stopping, 30)
    assert len(await office.messages()) == 1


@pytest.mark.parametrize("seed", range(3))
async def test_broken_pdus_end_in_answers_or_a_closed_session(
    office: Office, seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    rng, wire = random.Random(seed), await Wire.bound(office)
    part = {"text": b"\5\0\3\7\2\1part", "esm_class": 0x40, "validity_period": b"000000010000000R"}
    good = [encode_sm(sm(**fields)) for fields in ({}, part, {"tlvs": {0x424: b"x" * 300}, "text": b""})]
    for _ in range(150):
        body = bytearray(rng.choice(good))
        for _ in range(rng.randint(1, 6)):
            body[rng.randrange(len(body))] = rng.choice((0, 1, 8, 0x40, 0x7F, 0xFF, rng.randrange(256)))
        command = rng.choice((c.SUBMIT_SM, c.SUBMIT_SM, c.DATA_SM, c.QUERY_SM, c.CANCEL_SM, rng.randrange(0x200)))
        if command in (c.UNBIND, c.OUTBIND, c.ALERT_NOTIFICATION):
            continue
        await wire.ask(command, bytes(body[: rng.randint(0, len(body))]) if rng.random() < 0.3 else bytes(body))
    assert (await wire.ask(c.ENQUIRE_LINK))[0] == 0
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


# -- query_sm, cancel_sm


async def test_query_and_cancel(office: Office) -> None:
    wire = await Wire.bound(office)
    _, id = await wire.submit(schedule_delivery_time=b"000001000000000R")
    named = id.encode() + b"\0"
    source = b"\x05\0ACME\0"
    status, body = await wire.ask(c.QUERY_SM, named + source)
    assert (status, body) == (0, named + b"\0\x01\0")  # ENROUTE
    assert (await wire.ask(c.QUERY_SM, named + b"\x05\0OTHER\0"))[0] == Status.ESME_RINVSRCADR
    assert (await wire.ask(c.QUERY_SM, b"0" * 32 + b"\0" + source))[0] == Status.ESME_RINVMSGID
    assert (await wire.ask(c.QUERY_SM, b"nonsense\0" + source))[0] == Status.ESME_RINVMSGID
    cancel = b"\0%b" + source + b"\x01\x01" + b"15005550001\0"
    assert (await wire.ask(c.CANCEL_SM, cancel % b"\0"))[0] == Status.ESME_RCANCELFAIL
    assert (await wire.ask(c.CANCEL_SM, cancel % named))[0] == 0
    assert (await office.message(id)).message.status == "canceled"
    status, body = await wire.ask(c.QUERY_SM, b"msg_" + named + b"\0\0\0")
    assert (status, body[-2:]) == (0, b"\x04\x01")  # DELETED
    _, sent = await wire.submit()
    await until(lambda: office.smsc.messages)
    assert (await wire.ask(c.CANCEL_SM, cancel % (sent.encode() + b"\0")))[0] == Status.ESME_RCANCELFAIL
    assert (await wire.ask(c.CANCEL_SM, b"\0"))[0] == Status.ESME_RINVCMDLEN
