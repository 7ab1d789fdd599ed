"""Parts of long messages: one message in the end, every part answered durably, nothing that was answered is lost."""

from __future__ import annotations

from typing import Any

import pytest

from tidings.domain.errors import InvalidRequest, StoreError, StoreFull
from tidings.kit.clock import wall_ms
from tidings.protocols.gsm import udh
from tidings.protocols.smpp import constants as c
from tidings.protocols.smpp.constants import Status, Tag
from tidings.protocols.smpp.pdu import encode_sm, pdu
from tidings.smppd import config, parts
from unit.smppd.office import Office, Wire, sm, until
from unit.smppd.test_receiving import id_of


def part(n: int, text: bytes, *, total: int = 3, ref: int = 9, how: str = "udh8", **fields: Any) -> dict[str, Any]:
    if how == "sar":
        tlvs = {
            Tag.SAR_MSG_REF_NUM: ref.to_bytes(2, "big"), Tag.SAR_TOTAL_SEGMENTS: bytes((total,)),
            Tag.SAR_SEGMENT_SEQNUM: bytes((n,)),
        }  # fmt: skip
        return {"text": text, "tlvs": tlvs, **fields}
    head = udh.concat8(ref, total, n) if how == "udh8" else udh.concat16(ref, total, n)
    return {"text": head + text, "esm_class": 0x40, **fields}


@pytest.mark.parametrize("how", ["udh8", "udh16", "sar"])
async def test_one_after_the_other_in_any_order(office: Office, how: str) -> None:
    """A client with a window of one."""
    wire = await Wire.bound(office)
    ids = []
    for n, text in ((2, b"two "), (1, b"one "), (3, b"three")):
        status, id = await wire.submit(**part(n, text, how=how, registered_delivery=1))
        assert status == 0
        ids.append(id)
    assert len(set(ids)) == 3
    (found,) = await office.messages()
    assert found.message.personal.text == "one two three"
    assert sorted([id_of(await wire.delivered()) for _ in ids]) == sorted(ids)
    for id in ids:
        named = id.encode() + b"\0"
        status, body = await wire.ask(c.QUERY_SM, named + b"\x05\0ACME\0")
        assert (status, body[: len(named)], body[-2]) == (0, named, 2)
    assert not (await office.rows("select sealed from smpp_parts where sealed <> ''")), (
        "the content stays only with the message"
    )


async def test_only_parts_that_asked_get_a_receipt(office: Office) -> None:
    """Kannel asks on one part of a message only."""
    wire = await Wire.bound(office)
    ids = [(await wire.submit(**part(n, b"x", total=2, registered_delivery=n == 2)))[1] for n in (1, 2)]
    assert id_of(await wire.delivered()) == ids[1]
    with pytest.raises(TimeoutError):
        await wire.read(0.5)


async def test_all_in_one_read_with_other_messages_between(office: Office) -> None:
    wire = await Wire.bound(office)
    bodies = [
        part(1, b"a", total=2, ref=1), part(1, b"c", total=2, ref=2), {"text": b"single"}, part(2, b"d", total=2, ref=2),
        part(2, b"b", total=2, ref=1),
    ]  # fmt: skip
    wire.writer.write(b"".join(pdu(c.SUBMIT_SM, 0, n, encode_sm(sm(**body))) for n, body in enumerate(bodies, 1)))
    assert [(await wire.read())[1:3] for _ in bodies] == [(0, n) for n in range(1, 6)]
    assert sorted(one.message.personal.text or "" for one in await office.messages()) == ["ab", "cd", "single"]


async def test_a_part_that_comes_twice_is_one(office: Office) -> None:
    wire = await Wire.bound(office)
    first = await wire.submit(**part(1, b"a", total=2))
    assert await wire.submit(**part(1, b"a", total=2)) == first
    await wire.submit(**part(2, b"b", total=2))
    assert [one.message.personal.text for one in await office.messages()] == ["ab"]


async def test_a_reference_that_is_used_again(office: Office) -> None:
    """The message that was left unfinished is sent as far as it came."""
    wire = await Wire.bound(office)
    await wire.submit(**part(1, b"a", total=2))
    await wire.submit(**part(1, b"x", total=2))
    await wire.submit(**part(2, b"y", total=2))
    await wire.submit(**part(1, b"x", total=2))
    await wire.submit(**part(2, b"y", total=2))
    assert [one.message.personal.text for one in await office.messages()] == ["a", "xy", "xy"]


async def test_what_stays_unfinished_is_sent_as_far_as_it_came(office: Office) -> None:
    wire = await Wire.bound(office)
    ids = [(await wire.submit(**part(n, b"part%d " % n, registered_delivery=1)))[1] for n in (1, 3)]
    now_ms, sweep = wall_ms(), office.server._intake.parts.sweep
    await sweep(now_ms + config.PARTS_WAIT_S * 1000 - 5_000)
    status, body = await wire.ask(c.QUERY_SM, ids[0].encode() + b"\0\x05\0ACME\0")
    assert (status, body[-2], await office.messages()) == (0, 1, []), "a part that waits is under way"
    await sweep(now_ms + config.PARTS_WAIT_S * 1000 + 5_000)
    await sweep(now_ms + config.PARTS_WAIT_S * 1000 + 9_000)
    assert [one.message.personal.text for one in await office.messages()] == ["part1 part3 "]
    assert sorted([id_of(await wire.delivered()) for _ in ids]) == sorted(ids)


@pytest.mark.parametrize("error", [StoreFull("full"), InvalidRequest("none", code="no_provider")])
async def test_parts_that_were_answered_are_promised(office: Office, error: Exception) -> None:
    """Accepting fails when the last part comes; the sweep makes up for it, once."""
    failures, inner = 2, office.node.acceptor.accept

    async def failing(project, mode, wants):
        nonlocal failures
        if failures:
            failures -= 1
            raise error
        return await inner(project, mode, wants)

    office.node.acceptor.accept = failing
    wire = await Wire.bound(office)
    for n in (1, 2):
        assert (await wire.submit(**part(n, b"x", total=2)))[0] == 0
    assert not await office.messages()
    for _ in range(3):
        await office.server._intake.parts.sweep(wall_ms())
    assert [one.message.personal.text for one in await office.messages()] == ["xx"]


async def test_a_crash_between_the_message_and_its_parts_sends_it_once(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def dies(_whole: str, _message: str) -> None:
        raise StoreError("killed here")

    wire = await Wire.bound(office)
    with monkeypatch.context() as patched:
        patched.setattr(office.server._customers, "sent", dies)
        for n in (1, 2):
            assert (await wire.submit(**part(n, b"x", total=2)))[0] == 0
    await office.stop()
    await office.start()
    await office.server._intake.parts.sweep(wall_ms())
    await until(lambda: office.smsc.messages)
    assert [one.message.personal.text for one in await office.messages()] == ["xx"]
    assert not await office.rows("select id from smpp_parts where message is null")


async def test_parts_that_cannot_be_kept_are_refused(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(_items: object) -> None:
        raise StoreFull("full")

    wire = await Wire.bound(office)
    monkeypatch.setattr(office.server._customers, "keep_parts", full)
    assert (await wire.submit(**part(1, b"x")))[0] == Status.ESME_RMSGQFUL


async def test_a_whole_that_is_refused_for_a_day_is_given_up(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refused(project, mode, wants):
        raise InvalidRequest("none", code="no_provider")

    office.node.acceptor.accept = refused
    wire = await Wire.bound(office)
    for n in (1, 2):
        await wire.submit(**part(n, b"x", total=2))
    monkeypatch.setattr(parts, "PARTS_GIVE_UP_S", 0)
    await office.server._intake.parts.sweep(wall_ms())
    assert await office.rows("select message, sealed from smpp_parts") == [("-", "")] * 2
    await office.server._intake.parts.sweep(wall_ms() + (config.PARTS_KEPT_S + 60) * 1000)
    assert await office.rows("select count(*) from smpp_parts") == [(0,)]
