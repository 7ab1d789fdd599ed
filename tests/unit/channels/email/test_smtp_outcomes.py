"""What becomes of a mail, by what the server says or does at each step; one outcome each, nothing sent twice by guess."""

from __future__ import annotations

from typing import Any

import pytest

from peers.carriers import RecordingSink, until
from peers.mail_script import OFFERS, scripted
from peers.mails import mail, sending, sent
from tidings.domain.attempt import PartExpired, PartRefused, PartRetry, PartSent, PartUnknown

PLAIN = OFFERS.replace("250-PIPELINING\n", "")

#: step, answer, outcome's kind, our code, provider_code, suppress
SAID: list[tuple[str, str, type, str, str, str | None]] = [
    ("MAIL", "553 5.1.8 no such domain", PartRefused, "invalid_sender", "5.1.8", None),
    ("MAIL", "550 no", PartRefused, "invalid_sender", "550", None),
    ("MAIL", "451 4.3.0 later", PartRetry, "carrier_busy", "4.3.0", None),
    ("MAIL", "552 5.3.4 too big", PartRefused, "message_too_large", "5.3.4", None),
    ("RCPT", "550 5.1.1 no such user", PartRefused, "invalid_recipient", "5.1.1", "bounced"),
    ("RCPT", "550-5.1.1 no such\n550 5.1.1 user", PartRefused, "invalid_recipient", "5.1.1", "bounced"),
    ("RCPT", "556 5.1.10 null MX", PartRefused, "invalid_recipient", "5.1.10", "bounced"),
    ("RCPT", "550 5.2.1 closed", PartRefused, "invalid_recipient", "5.2.1", "bounced"),
    ("RCPT", "550 no such user", PartRefused, "invalid_recipient", "550", None),
    ("RCPT", "550 5.7.1 we do not like you", PartRefused, "rejected_by_policy", "5.7.1", None),
    ("RCPT", "552 5.2.2 full", PartRefused, "mailbox_full", "5.2.2", None),
    ("RCPT", "552 full", PartRefused, "mailbox_full", "552", None),
    ("RCPT", "452 4.2.2 full", PartRetry, "mailbox_full", "4.2.2", None),
    ("RCPT", "450 4.7.1 greylisted", PartRetry, "rejected_by_policy", "4.7.1", None),
    ("RCPT", "450 4.1.1 odd", PartRetry, "invalid_recipient", "4.1.1", None),
    ("DATA", "554 5.7.0 no", PartRefused, "rejected_by_policy", "5.7.0", None),
    ("DATA", "451 later", PartRetry, "carrier_busy", "451", None),
    ("END", "554 5.7.26 unauthenticated", PartRefused, "sender_unauthenticated", "5.7.26", None),
    ("END", "552 too big", PartRefused, "message_too_large", "552", None),
    ("END", "554 5.6.0 content", PartRefused, "rejected_content", "5.6.0", None),
    ("END", "550 5.1.1 after all", PartRefused, "invalid_recipient", "5.1.1", "bounced"),
    ("END", "451 4.3.0 later", PartRetry, "carrier_busy", "4.3.0", None),
    ("END", "554 4.7.1 contradicts itself", PartRefused, "refused", "554", None),
    ("END", "554 transaction failed", PartRefused, "refused", "554", None),
    ("END", "450 <bob@example.net>: 4.2.0 who", PartRetry, "carrier_busy", "450", None),
]  # fmt: skip


@pytest.mark.parametrize("offers", [OFFERS, PLAIN], ids=["pipelined", "plain"])
@pytest.mark.parametrize(("step", "answer", "kind", "code", "theirs", "suppress"), SAID)
async def test_refusals(
    step: str, answer: str, kind: type, code: str, theirs: str, suppress: str | None, offers: str
) -> None:
    """And the next mail over the same connection is not touched by it."""
    sink = RecordingSink()
    async with scripted(offers=offers) as (server, port), sending(sink, port, connections=1) as provider:
        server.script = {step: [answer]}
        first, second = await sent(provider, sink, mail(name="a1"), mail(name="a2"))
        assert type(first) is kind
        assert isinstance(first, PartRefused | PartRetry)
        assert (first.error.code, first.error.provider_code) == (code, theirs)
        assert (first.error.permanent, first.error.retryable) == (kind is PartRefused, kind is PartRetry)
        assert "bob@" not in first.error.detail
        assert getattr(first, "suppress", None) == suppress
        assert second == PartSent("a2")
        assert len([one for one in server.mails if one]) == (2 if step == "END" else 1)
        assert server.lines == 1


@pytest.mark.parametrize("offers", [OFFERS, PLAIN], ids=["pipelined", "plain"])
@pytest.mark.parametrize(
    ("step", "answer", "outcome"),
    [
        ("END", None, PartUnknown("connection_lost")), ("END", "...", PartUnknown("no_answer")),
        ("END", "what?", PartUnknown("connection_lost")), ("END", "250-a\n251 b", PartUnknown("connection_lost")),
        ("END", "999 x", PartUnknown("connection_lost")), ("END", "x" * 9_000, PartUnknown("connection_lost")),
    ],
)  # fmt: skip
async def test_after_the_end_nobody_knows(step: str, answer: Any, outcome: PartUnknown, offers: str) -> None:
    """The line breaks, or nothing that can be understood comes, after the end was written: never sent again by itself."""
    sink = RecordingSink()
    async with (
        scripted(offers=offers) as (server, port),
        sending(sink, port, connections=1, end_timeout_s=0.3) as provider,
    ):
        server.script = {step: [answer]}
        assert await sent(provider, sink, mail(name="a1")) == [outcome]
        assert await sent(provider, sink, mail(name="a2")) == [PartSent("a2")]
        assert len(server.mails) == 2


@pytest.mark.parametrize("offers", [OFFERS, PLAIN], ids=["pipelined", "plain"])
@pytest.mark.parametrize("answer", [None, "...", "what?", "421 4.3.2 bye"])
@pytest.mark.parametrize("step", ["MAIL", "RCPT", "DATA"])
async def test_before_the_end_it_is_sent_again(step: str, answer: Any, offers: str) -> None:
    sink = RecordingSink()
    async with (
        scripted(offers=offers) as (server, port),
        sending(sink, port, connections=1, command_timeout_s=0.3) as provider,
    ):
        server.script = {step: [answer]}
        assert await sent(provider, sink, mail(name="a1")) == [PartSent("a1")]
        assert len([one for one in server.mails if one]) == 1
        assert server.lines == 2


async def test_a_line_that_breaks_again_and_again() -> None:
    sink = RecordingSink()
    async with scripted() as (server, port), sending(sink, port, connections=1) as provider:
        server.script = {"RCPT": [None] * 3}
        (outcome,) = await sent(provider, sink, mail(name="a1"))
        assert isinstance(outcome, PartRetry)
        assert outcome.error.code == "no_link"
        assert server.mails == []


async def test_throttled_mails_are_sent_after_all() -> None:
    sink = RecordingSink()
    async with scripted() as (server, port), sending(sink, port, connections=1) as provider:
        server.script = {"END": ["421 4.7.0 too fast", "451 4.7.28 too fast"]}
        assert await sent(provider, sink, mail(name="a1")) == [PartSent("a1")]
        assert len(server.mails) == 3


async def test_an_envelope_is_one_write_and_leaves_ahead() -> None:
    """Two mails, one connection: the second envelope is there before the first mail is answered."""
    sink = RecordingSink()
    async with scripted() as (server, port), sending(sink, port, connections=1) as provider:
        await sent(provider, sink, mail("a@x.test", name="a1"), mail("b@y.test", name="a2"))
        assert [line.split(" ")[0] for line in server.commands[1:]] == ["MAIL", "RCPT", "DATA"] * 2
        assert server.commands[2].startswith("RCPT TO:<a@x.test>")


async def test_large_mails_and_dots() -> None:
    sink = RecordingSink()
    async with scripted(offers=OFFERS.replace("100000", "9000000")) as (server, port), sending(sink, port) as provider:
        text = "\n".join([".", "..", ".x", "x" * 70] * 20_000)
        assert await sent(provider, sink, mail(name="a1", text=text)) == [PartSent("a1")]
        body = server.mails[0].replace(b"\r\n..", b"\r\n.")
        assert b"\r\n.\r\n" not in server.mails[0]
        assert len(body) > 1_400_000


async def test_what_the_server_cannot_carry() -> None:
    sink = RecordingSink()
    offers = OFFERS.replace("250-SMTPUTF8\n", "").replace("100000", "2000")
    async with scripted(offers=offers) as (server, port), sending(sink, port, connections=1) as provider:
        utf8, large = await sent(provider, sink, mail("jörg@example.net", name="a1"), mail(name="a2", text="x" * 3_000))
        assert isinstance(utf8, PartRefused)
        assert utf8.error.code == "unsupported_address"
        assert isinstance(large, PartRefused)
        assert large.error.code == "message_too_large"
        assert len(server.commands) == 1


async def test_internationalised() -> None:
    sink = RecordingSink()
    async with scripted() as (server, port), sending(sink, port, eight_bit=True) as provider:
        await sent(provider, sink, mail("jörg@münchen.example", name="a1", text="Grüße"))
        assert "BODY=8BITMIME SMTPUTF8" in server.commands[1]
        assert server.commands[2].startswith("RCPT TO:<jörg@xn--mnchen-3ya.example>")
        assert "Grüße".encode() in server.mails[0]


async def test_seven_bits_where_eight_are_not_offered() -> None:
    sink = RecordingSink()
    offers = OFFERS.replace("250-8BITMIME\n", "")
    async with scripted(offers=offers) as (server, port), sending(sink, port, eight_bit=True) as provider:
        await sent(provider, sink, mail(name="a1", text="Grüße"))
        assert "BODY" not in server.commands[1]
        assert server.mails[0].isascii()


async def test_receipts_are_asked_for() -> None:
    sink = RecordingSink()
    async with scripted() as (server, port), sending(sink, port, receipts=True) as provider:
        one = mail("bo+b@example.net")
        await sent(provider, sink, one)
        assert server.commands[1].endswith(f"RET=HDRS ENVID={one.attempt_id}")
        assert server.commands[2].endswith("NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=rfc822;bo+2Bb@example.net")


async def test_too_late_is_never_written() -> None:
    sink = RecordingSink()
    async with scripted() as (server, port), sending(sink, port) as provider:
        assert await sent(provider, sink, mail(name="a1", valid_until_ms=1)) == [PartExpired()]
        assert len(server.commands) == 1


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        ({"sender": "no address"}, "invalid_sender"), ({"subject": "x\r\nBcc: eve@example.com"}, "invalid_content"),
        ({"headers": {"Bcc": "x"}}, "invalid_content"), ({"to": "a b@example.com"}, "invalid_recipient"),
        ({"to": "bob@example.net>\r\nRCPT TO:<eve@example.com"}, "invalid_recipient"),
    ],
)  # fmt: skip
async def test_what_cannot_be_written(bad: dict[str, Any], code: str) -> None:
    sink = RecordingSink()
    async with scripted() as (server, port), sending(sink, port) as provider:
        (outcome,) = await sent(provider, sink, mail(name="a1", **bad))
        assert isinstance(outcome, PartRefused)
        assert outcome.error.code == code
        assert server.commands == [server.commands[0]]


async def test_no_server() -> None:
    sink = RecordingSink()
    async with scripted() as (_, port):
        pass
    async with sending(sink, port, up=False) as provider:
        assert provider.credit("otp") == 0
        (outcome,) = await sent(provider, sink, mail(name="a1"))
        assert isinstance(outcome, PartRetry)
        assert outcome.error.code == "no_link"


async def test_private_networks_are_shut() -> None:
    sink = RecordingSink()
    async with scripted() as (server, port), sending(sink, port, up=False, allow_networks=[]) as provider:
        await sent(provider, sink, mail(name="a1"))
        assert server.lines == 0
        assert any("private" in (link.last_error or "") for link in sink.links)


async def test_stop_leaves_nothing_open() -> None:
    sink = RecordingSink()
    async with scripted() as (server, port), sending(sink, port, connections=1) as provider:
        server.script = {"END": ["..."]}
        provider.submit([mail(name=f"a{n}") for n in range(5)])
        await until(lambda: server.mails)
        await provider.stop(0.05)
        kinds = {name: type(sink.outcome(name)[0]) for name in ("a0", "a1", "a2", "a3", "a4")}
        assert kinds == {"a0": PartUnknown} | dict.fromkeys(("a1", "a2", "a3", "a4"), PartRetry)
        provider.submit([mail(name="a9")])
        await until(lambda: len(sink.done) == 6)
        assert [link.state for link in provider.links()] == ["down"]


async def test_domains_take_turns() -> None:
    """Of one domain no more at once than allowed, however many connections there are; others go on."""
    sink = RecordingSink()
    async with (
        scripted(offers=PLAIN) as (server, port),
        sending(sink, port, connections=4, domain_concurrency=1, end_timeout_s=0.5) as provider,
    ):
        server.script = {"END": ["..."]}
        provider.submit([mail("a@slow.test", name="s1"), mail("a@slow.test", name="s2")])
        await until(lambda: server.mails)
        await sent(provider, sink, *(mail(f"a@d{n}.test", name=f"f{n}") for n in range(6)))
        assert not [one for one in sink.done if one.attempt_id == "s2"]
        await until(lambda: len(sink.done) == 8)
        assert sink.outcome("s1") == (PartUnknown("no_answer"),)
        assert sink.outcome("s2") == (PartSent("s2"),)
