"""What every provider must do. A provider declares its level; a test of that level or below proves it.

To add a provider: write how its carrier is simulated (`CARRIERS`), nothing else.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Any, Protocol

import msgspec
import pytest
import structlog

from peers.carriers import RecordingSink, submission, until
from peers.described_carriers import described, hook_carrier
from peers.http_carriers import HttpCarrier, form_carrier, twilio_carrier
from peers.mail_carriers import sendgrid_carrier, ses_carrier, smtp_carrier
from peers.push_carriers import apns_carrier, fcm_carrier, webpush_carrier
from peers.whatsapp_carriers import meta_carrier, twilio_whatsapp_carrier
from tidings.channels import registry
from tidings.channels.callback import CallbackTaker, NotGenuine, RawRequest, Taken
from tidings.channels.contract import Capabilities, Level, Provider, ProviderSpec
from tidings.domain.attempt import PartExpired, PartRefused, PartRetry, PartSent, PartUnknown, Submission
from tidings.domain.errors import SettingsError
from tidings.protocols.smpp.constants import Status
from tidings.sandbox.sms import SandboxSmsc

SECRET = "s3cr3t"


class Carrier(Protocol):
    """A simulated carrier, as the cases drive it.

    Of a channel other than SMS it has `takes` and `never` (the addresses that are used in place of TAKES and
    NEVER_ANSWERS) and `submission(provider, name, to, text, **more)`; `isolated` if each address has a carrier of its own;
    `secret` if what must not be shown is not SECRET; `number` if people write to it, whatever number they are told.
    """

    config: dict[str, Any]

    def refuse_next(self) -> None:
        """The next part is refused for good."""
        ...

    def fail_next(self) -> None:
        """The next part is to be tried again."""
        ...

    def throttle_next(self, count: int) -> None:
        """The next parts come too fast."""
        ...

    def drop_links(self) -> None:
        """The line breaks."""
        ...

    def say(self, sender: str, to: str, text: str) -> None:
        """A person writes."""
        ...

    @property
    def written(self) -> int:
        """How many parts reached the carrier."""
        ...


class SmppCarrier:
    """The sandbox SMSC; what npm `smpp` thinks of the provider is in `acceptance/test_smpp_peers.py`."""

    def __init__(self, smsc: SandboxSmsc) -> None:
        self._smsc = smsc
        self.config: dict[str, Any] = {
            "host": "127.0.0.1",
            "port": smsc.port,
            "system_id": "perf",
            "password": SECRET,
            "reconnect_min_s": 0.02,
            "reconnect_max_s": 0.1,
            "response_timeout_s": 0.3,
            "requeue_s": 0.3,
        }

    def refuse_next(self) -> None:
        self._smsc.answer_next(Status.ESME_RINVDSTADR)

    def fail_next(self) -> None:
        self._smsc.answer_next(Status.ESME_RSYSERR)

    def throttle_next(self, count: int) -> None:
        self._smsc.answer_next(*[Status.ESME_RTHROTTLED] * count)

    def drop_links(self) -> None:
        self._smsc.drop_links()

    def say(self, sender: str, to: str, text: str) -> None:
        self._smsc.inject(sender, to, text)

    @property
    def written(self) -> int:
        return self._smsc.submits


@asynccontextmanager
async def _smpp() -> AsyncIterator[SmppCarrier]:
    smsc = SandboxSmsc(system_id="perf", password=SECRET, receipt_delay_s=0.01)
    await smsc.start()
    try:
        yield SmppCarrier(smsc)
    finally:
        await smsc.stop()


CARRIERS: dict[str, Callable[[], AbstractAsyncContextManager[Any]]] = {
    "email.http": described("email"),
    "email.sendgrid": sendgrid_carrier,
    "email.ses": ses_carrier,
    "email.smtp": smtp_carrier,
    "other.apprise": hook_carrier,
    "push.apns": apns_carrier,
    "push.fcm": fcm_carrier,
    "push.http": described("push"),
    "push.webpush": webpush_carrier,
    "sms.http": form_carrier,
    "sms.smpp": _smpp,
    "sms.twilio": twilio_carrier,
    "whatsapp.cloud_api": meta_carrier,
    "whatsapp.http": described("whatsapp"),
    "whatsapp.twilio": twilio_whatsapp_carrier,
}
TAKES, NEVER_ANSWERS = "+15005550001", "+15005550009"
_ORDER: dict[Level, int] = {"bronze": 0, "silver": 1, "gold": 2}


class Rig:
    """A started provider between a recording sink and its simulated carrier."""

    def __init__(self, provider: Provider, sink: RecordingSink, carrier: Carrier) -> None:
        self.provider, self.sink, self.carrier = provider, sink, carrier
        self.names: list[str] = []
        self.takes: str = getattr(carrier, "takes", TAKES)
        self.never: str = getattr(carrier, "never", NEVER_ANSWERS)
        self.isolated: bool = getattr(carrier, "isolated", False)
        self.secret: str = getattr(carrier, "secret", SECRET)
        self.number: str = getattr(carrier, "number", "12345")
        self.sms = provider.capabilities.channel == "sms"
        self._name: Callable[[int], str] = getattr(carrier, "name", lambda n: f"a{n}")
        self.person: str = getattr(carrier, "person", "+15005550007")
        self._submission: Callable[..., Submission] = getattr(carrier, "submission", submission)

    def send(self, count: int = 1, to: str = "", **more: Any) -> list[str]:
        """Submits `count` messages; their names."""
        names = [self._name(len(self.names) + n) for n in range(count)]
        self.names += names
        self.provider.submit([self._submission(self.provider, name, to or self.takes, **more) for name in names])
        return names

    async def settled(self) -> None:
        """Waits until everything has an outcome, and checks that it is exactly one."""
        await until(lambda: len(self.sink.done) >= len(self.names))
        assert sorted(o.attempt_id for o in self.sink.done) == sorted(self.names)

    async def up(self) -> None:
        """Waits for a link."""
        await until(lambda: self.provider.credit("otp") > 0)


async def _sends(rig: Rig) -> None:
    names = rig.send(20)
    await rig.settled()
    parts = [part for name in names for part in rig.sink.outcome(name)]
    assert [part for part in parts if not isinstance(part, PartSent)] == []
    assert len({part.ref for part in parts if isinstance(part, PartSent)}) == 20


async def _one_part_outcome_a_part(rig: Rig) -> None:
    (name,) = rig.send(text="word " * 60, concat_ref=3)
    await rig.settled()
    parts = len(rig.provider.plan("word " * 60).parts) if rig.sms else 1  # one too, where the carrier cuts it
    assert [type(part) for part in rig.sink.outcome(name)] == [PartSent] * parts


async def _refusal_is_a_value(rig: Rig) -> None:
    rig.carrier.refuse_next()
    (name,) = rig.send()
    await rig.settled()
    (part,) = rig.sink.outcome(name)
    assert isinstance(part, PartRefused)
    assert part.error.permanent
    assert not part.error.retryable
    assert part.error.code
    assert part.error.detail
    assert part.error.provider_code
    assert part.error.spec


async def _failure_is_to_be_tried_again(rig: Rig) -> None:
    rig.carrier.fail_next()
    (name,) = rig.send()
    await rig.settled()
    (part,) = rig.sink.outcome(name)
    assert isinstance(part, PartRetry)
    assert part.error.retryable


async def _too_late_is_never_written(rig: Rig) -> None:
    (name,) = rig.send(valid_until_ms=time.time_ns() // 1_000_000 - 1)
    await rig.settled()
    assert rig.sink.outcome(name) == (PartExpired(),)
    assert rig.carrier.written == 0


async def _no_answer_is_unknown(rig: Rig) -> None:
    (name,) = rig.send(to=rig.never)
    await rig.settled()
    assert isinstance(rig.sink.outcome(name)[0], PartUnknown)
    await rig.up()


async def _stop_leaves_nothing_open(rig: Rig) -> None:
    rig.send(30, to=rig.never)
    rig.send(30)
    await rig.provider.stop(0.05)
    await rig.settled()
    assert rig.provider.credit("otp") == 0
    rig.send(2)
    await rig.settled()
    assert all(isinstance(part, PartRetry) for name in rig.names[-2:] for part in rig.sink.outcome(name))
    assert {link.state for link in rig.provider.links()} == {"down"}


async def _secrets_are_not_shown(rig: Rig) -> None:
    rig.send(to=rig.never)  # where there is no session, only a request notices
    rig.carrier.drop_links()
    await until(lambda: len(rig.sink.links) >= (1 if rig.isolated else 3))
    await rig.settled()
    shown = repr((rig.sink.links, rig.sink.done, rig.provider.links(), rig.provider))
    assert rig.secret in repr(rig.carrier.config)
    assert rig.secret not in shown


async def _plan_is_pure(rig: Rig) -> None:
    assert rig.provider.plan("Grüße 😀") == rig.provider.plan("Grüße 😀")
    assert not rig.sink.log


async def _receipts_match(rig: Rig) -> None:
    rig.send(10)
    await rig.settled()
    await until(lambda: len(rig.sink.receipts) == 10)
    refs = {part.ref for name in rig.names for part in rig.sink.outcome(name) if isinstance(part, PartSent)}
    assert all(refs.intersection(receipt.refs) for receipt in rig.sink.receipts)
    assert {(receipt.to, receipt.state) for receipt in rig.sink.receipts} == {(rig.takes, "delivered")}


async def _throttling_never_fails(rig: Rig) -> None:
    rig.carrier.throttle_next(3)
    rig.send(6)
    await rig.settled()
    assert all(isinstance(part, PartSent) for name in rig.names for part in rig.sink.outcome(name))
    assert rig.carrier.written == 9


async def _reconnects(rig: Rig) -> None:
    rig.send(3, to=rig.never)
    rig.carrier.drop_links()
    await rig.settled()
    assert all(isinstance(part, PartUnknown) for name in rig.names for part in rig.sink.outcome(name))
    readies = rig.sink.readies
    await rig.up()
    await until(
        lambda: rig.isolated or rig.sink.readies > readies
    )  # one that was never down need not tell that it is up
    rig.send()
    await rig.settled()
    assert isinstance(rig.sink.outcome(rig.names[-1])[0], PartSent)


async def _hears_people(rig: Rig) -> None:
    rig.carrier.say(rig.person, rig.number, "Ja 😀")
    await until(lambda: rig.sink.inbound)
    (part,) = rig.sink.inbound
    assert (part.sender, part.to, part.text) == (rig.person, rig.number, "Ja 😀")
    assert part.channel == rig.provider.capabilities.channel
    assert part.dedup


async def _what_was_not_kept_comes_again(rig: Rig) -> None:
    rig.sink.refuse_receives = 1
    rig.carrier.say(rig.person, rig.number, "Hi")
    await until(lambda: rig.sink.inbound)
    assert len(rig.sink.inbound) == 1


async def _only_genuine_calls_are_read(rig: Rig) -> None:
    """What the carrier called with, as it came and then with one thing changed. The same call says the same again."""
    taker, carrier = rig.provider, rig.carrier
    assert isinstance(taker, CallbackTaker)
    assert isinstance(carrier, HttpCarrier)
    rig.send()
    carrier.say("+15005550007", rig.number, "Hi")
    await until(lambda: rig.sink.receipts and rig.sink.inbound)
    assert len(carrier.callbacks) >= 2
    for good in carrier.callbacks:
        assert isinstance(taker.callback(good), Taken)
        assert taker.callback(good) == taker.callback(good)  # so that the store knows it again
        for forged in _forgeries(good):
            assert isinstance(taker.callback(forged), NotGenuine), forged


def _forgeries(good: RawRequest) -> list[RawRequest]:
    signed = next(name for name in good.headers if "signature" in name)
    value = good.headers[signed]
    changed = "A" if value[-2] != "A" else "B"
    headers = [
        {name: text for name, text in good.headers.items() if name != signed},
        {**good.headers, signed: ""},
        {**good.headers, signed: value[:-2] + changed + value[-1]},
        {**good.headers, signed: "é" * len(value)},
    ]
    bodies = [b"", good.body[:-1], good.body + b"&a=1", good.body.replace(b"1", b"2"), b"\xff" + good.body]
    return [
        *(msgspec.structs.replace(good, headers=other) for other in headers),
        *(msgspec.structs.replace(good, body=other) for other in bodies),
    ]


class _Lines(logging.Handler):
    """What goes through the standard library's logging."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(f"{record.getMessage()} {record.exc_info}")

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Everything within."""
        logging.getLogger().addHandler(self)
        try:
            yield
        finally:
            logging.getLogger().removeHandler(self)


async def _a_server_error_is_no_refusal(rig: Rig) -> None:
    """It may have been taken: neither refused for good nor, if the carrier does not say so, sent again at once."""
    assert isinstance(rig.carrier, HttpCarrier)
    rig.carrier.answer_next(502, "<html>Bad gateway</html>")
    (name,) = rig.send()
    await rig.settled()
    assert isinstance(rig.sink.outcome(name)[0], PartUnknown)
    assert rig.carrier.written == 1


async def _nonsense_is_never_sent_twice(rig: Rig) -> None:
    """An answer that cannot be read, of a carrier that says it was taken."""
    assert isinstance(rig.carrier, HttpCarrier)
    rig.carrier.answer_next(200, "<html>Thank you</html>")
    (name,) = rig.send()
    await rig.settled()
    assert isinstance(rig.sink.outcome(name)[0], PartSent | PartUnknown)
    assert rig.carrier.written == 1


async def _nobody_is_logged(rig: Rig) -> None:
    """Neither secrets nor addresses nor words reach a log, whatever goes wrong."""
    words, lines = "w0rds-of-a-person", _Lines()
    with structlog.testing.capture_logs() as logs, lines.heard():
        rig.send(text=words)
        rig.carrier.refuse_next()
        rig.send(text=words)
        rig.send(to=rig.never, text=words)
        rig.carrier.drop_links()
        await rig.settled()
    said = repr((logs, lines.said))
    assert not any(secret in said for secret in (rig.secret, words, rig.takes, rig.never))


#: Level, case, and what a provider must be able to do: it is of no use to others.
CASES: list[tuple[Level, Callable[[Rig], Awaitable[None]], str]] = [
    ("bronze", _sends, ""),
    ("bronze", _one_part_outcome_a_part, ""),
    ("bronze", _refusal_is_a_value, ""),
    ("bronze", _failure_is_to_be_tried_again, ""),
    ("bronze", _too_late_is_never_written, ""),
    ("bronze", _no_answer_is_unknown, ""),
    ("bronze", _stop_leaves_nothing_open, ""),
    ("bronze", _secrets_are_not_shown, ""),
    ("bronze", _plan_is_pure, "plan"),
    ("bronze", _nobody_is_logged, ""),
    ("bronze", _a_server_error_is_no_refusal, "http"),
    ("bronze", _nonsense_is_never_sent_twice, "http"),
    ("silver", _receipts_match, "receipts"),
    ("silver", _throttling_never_fails, ""),
    ("silver", _reconnects, ""),
    ("gold", _hears_people, "inbound"),
    ("gold", _what_was_not_kept_comes_again, "inbound"),
    ("gold", _only_genuine_calls_are_read, "callback"),
]
#: Cases in which a carrier is silent: its time-outs are as short as it says. In all others only a loaded machine could
#: meet them, and would call unknown what was taken: one answer of twenty that took longer than 0.3 s.
SILENT = {
    _no_answer_is_unknown, _stop_leaves_nothing_open, _secrets_are_not_shown, _nobody_is_logged, _reconnects,
}  # fmt: skip
PATIENT_S = 20.0
#: Carriers on wires of their own (SMTP, SMPP, HTTP/2): they have no error page, and do not call us.
OWN_WIRE = {"email.smtp", "push.apns", "sms.smpp"}
#: Channels on which no carrier tells of a delivery: the app does.
NO_RECEIPTS = {"push"}


#: Says of a note that it went out or that it did not, and nothing more.
TELLS_LITTLE = {"other.apprise": {_refusal_is_a_value, _a_server_error_is_no_refusal, _nonsense_is_never_sent_twice}}


def able(kind: str, capabilities: Capabilities, to: str) -> bool:
    """Whether a provider, or its carrier, can do this."""
    if to in ("http", "callback"):
        return kind not in OWN_WIRE
    return not to or (capabilities.channel == "sms" if to == "plan" else bool(getattr(capabilities, to)))


def config_of(carrier: Carrier, case: Callable[[Rig], Awaitable[None]]) -> dict[str, Any]:
    """Its config, with long time-outs for the answers to submissions where the case needs none."""
    waits = {} if case in SILENT else {"response_timeout_s", "end_timeout_s"} & carrier.config.keys()
    return carrier.config | dict.fromkeys(waits, PATIENT_S)


#: One of Apprise's hundred plug-ins imports it when they are looked through.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")


def test_every_provider_is_judged() -> None:
    assert set(registry.types()) == set(CARRIERS)


def _applying() -> Iterator[Any]:
    """Every case with every provider that says it can do what the case is about."""
    for kind in sorted(CARRIERS):
        capabilities = registry.find(kind).CAPABILITIES
        for level, case, needs in CASES:
            told = case not in TELLS_LITTLE.get(kind, ())
            if told and _ORDER[level] <= _ORDER[capabilities.level] and able(kind, capabilities, needs):
                yield pytest.param(kind, case, id=f"{case.__name__.strip('_')}-{kind}")


@pytest.mark.parametrize(("kind", "case"), list(_applying()))
async def test_conformance(kind: str, case: Callable[[Rig], Awaitable[None]]) -> None:
    sink = RecordingSink()
    async with CARRIERS[kind]() as carrier:
        provider = registry.create(ProviderSpec(name="acme", type=kind, config=config_of(carrier, case)), sink)
        if isinstance(carrier, HttpCarrier) or hasattr(carrier, "attach"):
            carrier.attach(provider, sink)  # its callbacks go to it as the server would hand them on
        assert provider.credit("otp") == 0
        await provider.start()
        rig = Rig(provider, sink, carrier)
        try:
            await rig.up()
            await case(rig)
        finally:
            await provider.stop(0)


@pytest.mark.parametrize("kind", sorted(CARRIERS))
async def test_module(kind: str) -> None:
    module: Any = registry.find(kind)
    assert isinstance(module.CAPABILITIES, Capabilities)
    assert module.CAPABILITIES.channel == kind.split(".")[0]
    assert issubclass(module.Config, object)
    if module.CAPABILITIES.channel not in NO_RECEIPTS:
        assert module.CAPABILITIES.level == "bronze" or module.CAPABILITIES.receipts
        assert module.CAPABILITIES.level != "gold" or module.CAPABILITIES.inbound
    async with CARRIERS[kind]() as carrier:
        assert isinstance(carrier, HttpCarrier) == (kind not in OWN_WIRE)
        registry.check(ProviderSpec(name="acme", type=kind, config=carrier.config))
        with pytest.raises(SettingsError, match=r"acme.*no_such_key"):
            registry.check(ProviderSpec(name="acme", type=kind, config=carrier.config | {"no_such_key": 1}))
        with pytest.raises(SettingsError, match="acme"):
            registry.check(ProviderSpec(name="acme", type=kind, config={}))


def test_unknown_type() -> None:
    with pytest.raises(SettingsError, match=r"sms\.pigeon.*sms\.smpp"):
        registry.find("sms.pigeon")
