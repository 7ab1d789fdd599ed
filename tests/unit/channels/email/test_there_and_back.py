"""Mails to the simulator, and what it sends back to our own mail server: every sandbox recipient."""

from __future__ import annotations

import pytest

from peers.carriers import until
from peers.mails import MailRig, mail, mail_rig
from tidings.domain.attempt import PartRetry, PartSent, PartUnknown


def to(person: str) -> str:
    return f"{person}@sandbox.test"


async def test_delivered() -> None:
    async with mail_rig() as rig:
        one = mail(to("delivered"))
        assert await rig.send(one) == [PartSent(one.attempt_id)]
        await until(lambda: rig.sink.receipts)
        (receipt,) = rig.sink.receipts
        assert (receipt.refs, receipt.state, receipt.suppress) == ((one.attempt_id,), "delivered", None)
        assert receipt.to == to("delivered")
        assert receipt.user_ref == int(one.attempt_id[-4:], 16)


async def test_bounced() -> None:
    async with mail_rig() as rig:
        one = mail(to("bounced"))
        assert await rig.send(one) == [PartSent(one.attempt_id)]
        await until(lambda: rig.sink.receipts)
        (receipt,) = rig.sink.receipts
        assert (receipt.refs, receipt.state, receipt.suppress) == ((one.attempt_id,), "undelivered", "bounced")
        assert receipt.error is not None
        assert (receipt.error.code, receipt.error.provider_code) == ("invalid_recipient", "5.1.1")
        assert receipt.error.permanent


async def test_complained() -> None:
    async with mail_rig(receipts=False) as rig:
        one = mail(to("complained"))
        await rig.send(one)
        await until(lambda: rig.sink.receipts)
        (receipt,) = rig.sink.receipts
        assert (receipt.refs, receipt.state) == ((one.attempt_id,), "pending")
        assert (receipt.engagement, receipt.suppress) == ("complained", "complained")


async def test_opened() -> None:
    async with mail_rig(receipts=False) as rig:
        one = mail(to("opened"))
        await rig.send(one)
        await until(lambda: rig.sink.receipts)
        (receipt,) = rig.sink.receipts
        assert (receipt.refs, receipt.state, receipt.engagement) == ((one.attempt_id,), "delivered", "read")


async def test_replies() -> None:
    async with mail_rig(receipts=False) as rig:
        one = mail(to("replies"), text="Shall we?\nSay YES")
        await rig.send(one)
        await until(lambda: rig.sink.inbound)
        (part,) = rig.sink.inbound
        assert (part.channel, part.text, part.sender) == ("email", "YES", to("replies"))
        assert part.answers == (one.attempt_id,)
        assert part.dedup
        assert part.content is not None
        assert part.content.subject == "Re: Hello"
        assert "> Say YES" in (part.content.full_text or "")


async def test_deferred() -> None:
    async with mail_rig(receipts=False) as rig:
        (first,) = await rig.send(mail(to("deferred"), tries=0))
        assert isinstance(first, PartRetry)
        assert (first.after_s, first.error.code, first.error.provider_code) == (60, "rejected_by_policy", "4.7.1")
        assert first.error.retryable
        (second,) = await rig.send(mail(to("deferred"), tries=1))
        assert isinstance(second, PartSent)


async def test_the_schedule_of_retries() -> None:
    async with mail_rig(receipts=False, retry_s=[7, 11]) as rig:
        rig.sandbox.answer_next(*["450 4.2.0 later"] * 3)
        found = await rig.send(*(mail(tries=n) for n in (0, 1, 9)))
        assert [outcome.after_s for outcome in found if isinstance(outcome, PartRetry)] in (
            [7, 11, 11],
            [11, 7, 11],
            [11, 11, 7],
        )


async def test_unknown() -> None:
    async with mail_rig(end_timeout_s=0.2) as rig:
        assert await rig.send(mail(to("unknown"))) == [PartUnknown("no_answer")]


async def test_what_was_not_kept_comes_again() -> None:
    async with mail_rig(receipts=False) as rig:
        rig.sink.refuse_receives = 2
        await rig.send(mail(to("bounced")))
        await until(lambda: rig.sink.receipts)
        assert rig.sink.log.count("receiving") == 3
        assert len(rig.sink.receipts) == 1


async def test_a_person_writes_first() -> None:
    async with mail_rig() as rig:
        rig.sandbox.write_to_us("zoe@sandbox.test", "support@reply.sandbox.test", "Grüße 😀")
        await until(lambda: rig.sink.inbound)
        (part,) = rig.sink.inbound
        assert (part.sender, part.to, part.text) == ("zoe@sandbox.test", "support@reply.sandbox.test", "Grüße 😀")
        assert part.answers == ()


async def test_a_wrong_password_is_said_and_stops() -> None:
    async with mail_rig() as rig:
        from peers.carriers import RecordingSink
        from peers.mails import FAST
        from tidings.channels.contract import ProviderSpec
        from tidings.channels.email.smtp import SmtpProvider

        sink = RecordingSink()
        config = FAST | rig.sandbox.config | {"password": "not this one"}
        provider = SmtpProvider(ProviderSpec(name="acme", type="email.smtp", config=config), sink)
        await provider.start()
        provider.submit([mail(name="a")])
        await until(lambda: sink.done)
        assert isinstance(sink.outcome("a")[0], PartRetry)
        (link,) = provider.links()
        assert link.state == "auth_failed"
        assert link.kind == "smtp"
        assert "not this one" not in repr((link, sink.links, sink.done))
        await provider.stop(0)


@pytest.mark.parametrize("lines", [1, 3])
async def test_many(lines: int) -> None:
    async with mail_rig(connections=lines, domain_concurrency=2) as rig:
        mails = [mail(f"p{n}@d{n % 7}.example.net") for n in range(60)]
        found = await rig.send(*mails)
        assert found == [PartSent(one.attempt_id) for one in mails]
        assert rig.sandbox.written == 60
        assert sorted(taken.to for taken in rig.sandbox.mails) == sorted(one.to for one in mails)


def test_rig_is_used() -> None:
    assert MailRig
