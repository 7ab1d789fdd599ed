"""The provider's own promises, on loopback against our sandbox. What others think of it is in `acceptance`."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from listening import Listening
from peers.carriers import RecordingSink, started, submission, until
from tidings.channels.sms import smpp_session
from tidings.channels.sms.smpp_session import SmppSession
from tidings.domain.attempt import PartRefused, PartRetry, PartSent, PartUnknown
from tidings.protocols.smpp.constants import Status
from tidings.sandbox.sms import SandboxSmsc

SILENT = "+15005550009"


@pytest.fixture
async def smsc() -> AsyncIterator[SandboxSmsc]:
    smsc = SandboxSmsc(system_id="perf", password="perf", receipt_delay_s=0.01)
    await smsc.start()
    yield smsc
    await smsc.stop()


async def test_outcomes_and_receipts_come_in_batches(smsc: SandboxSmsc) -> None:
    sink = RecordingSink()
    async with started(smsc.port, sink, window=100) as provider:
        provider.submit([submission(provider, f"a{n}", lane="otp") for n in range(100)])
        await until(lambda: len(sink.done) == 100 and len(sink.receipts) == 100)
        assert len(sink.batches) <= 10
        assert sink.log.count("received") <= 20


@pytest.mark.parametrize(("window", "bulk"), [(1, 1), (2, 1), (4, 3), (5, 4), (10, 8), (50, 40)])
async def test_a_fifth_of_the_window_is_kept_for_one_time_codes(smsc: SandboxSmsc, window: int, bulk: int) -> None:
    sink = RecordingSink()
    async with started(smsc.port, sink, window=window) as provider:
        assert [provider.credit(lane) for lane in ("otp", "transactional", "marketing")] == [window, bulk, bulk]
        provider.submit([submission(provider, f"a{n}", to=SILENT) for n in range(100)])
        assert provider.credit("transactional") == 0
        assert provider.credit("otp") == window - bulk
        assert provider.links()[0].in_flight == bulk
        provider.submit([submission(provider, f"o{n}", to=SILENT, lane="otp") for n in range(window - bulk)])
        assert provider.credit("otp") == 0
        assert provider.links()[0].in_flight == window


async def test_credit_with_a_rate_is_fifty_milliseconds_worth(smsc: SandboxSmsc) -> None:
    sink = RecordingSink()
    async with started(smsc.port, sink, rate_per_s=200, window=500) as provider:
        assert provider.credit("marketing") == 10
        provider.submit([submission(provider, f"a{n}", lane="marketing") for n in range(100)])
        assert provider.credit("marketing") == 0
        assert provider.credit("otp") == 10, "a queue of marketing takes nothing from one-time codes"
        readies = sink.readies
        await until(lambda: len(sink.done) == 100)
        assert provider.credit("marketing") > 0
        assert sink.readies > readies


async def test_ready_is_told_after_the_window_was_full(smsc: SandboxSmsc) -> None:
    sink = RecordingSink()
    async with started(smsc.port, sink, window=10) as provider:
        before = sink.readies
        provider.submit([submission(provider, f"a{n}") for n in range(4)])
        await until(lambda: len(sink.done) == 4)
        assert sink.readies == before, "there was room all the time"
        provider.submit([submission(provider, f"b{n}") for n in range(20)])
        await until(lambda: len(sink.done) == 24)
        assert 1 <= sink.readies - before <= 5, "once a wake-up, not once a part"


async def test_the_rate_holds_in_every_sliding_second_of_write_times(
    smsc: SandboxSmsc, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never more, and no less while the process gets its turns: a busy machine has three tries to give it a second of them."""
    times: list[float] = []
    flush = SmppSession.flush

    def spy(self: SmppSession) -> None:
        times.extend([time.monotonic()] * len(self._out))
        flush(self)

    monkeypatch.setattr(SmppSession, "flush", spy)
    rate = 150
    for _ in range(3):
        sink, count = RecordingSink(), rate * 2 + 1
        times.clear()
        async with started(smsc.port, sink, rate_per_s=rate, window=200, binds={"transceiver": 2}) as provider:
            provider.submit([submission(provider, f"a{n}", lane="marketing") for n in range(count)])
            await until(lambda sink=sink, count=count: len(sink.done) == count)
        most = max(sum(at <= other < at + 1.0 for other in times[n:]) for n, at in enumerate(times))
        assert most <= rate
        if most >= 0.97 * rate:
            return
    raise AssertionError(f"{most} a second where {rate} were allowed")


async def test_parts_leave_in_order_over_two_links(smsc: SandboxSmsc) -> None:
    sink = RecordingSink()
    async with started(smsc.port, sink, binds={"transmitter": 1, "transceiver": 1}, window=4) as provider:
        provider.submit([submission(provider, "a", text="word " * 120, concat_ref=5)])
        await until(lambda: sink.done)
        assert all(isinstance(part, PartSent) for part in sink.outcome("a"))
        assert sorted(message.part for message in smsc.messages) == [1, 2, 3, 4]
        assert smsc.whole_messages == 1


async def test_a_refused_part_stops_the_rest(smsc: SandboxSmsc) -> None:
    sink = RecordingSink()
    smsc.answer_next(Status.ESME_RINVDSTADR)
    async with started(smsc.port, sink, window=1) as provider:
        provider.submit([submission(provider, "a", text="word " * 120)])
        await until(lambda: sink.done)
        assert [type(part) for part in sink.outcome("a")] == [PartRefused] * 4
        assert smsc.submits == 1


async def test_not_bound_is_bound_again(smsc: SandboxSmsc) -> None:
    sink = RecordingSink()
    smsc.answer_next(Status.ESME_RINVBNDSTS)
    async with started(smsc.port, sink) as provider:
        provider.submit([submission(provider, "a")])
        await until(lambda: sink.states.count("up") == 2)
        assert isinstance(sink.outcome("a")[0], PartRetry)


async def test_what_cannot_be_encoded_is_refused_and_the_rest_goes_on(smsc: SandboxSmsc) -> None:
    sink = RecordingSink()
    async with started(smsc.port, sink) as provider:
        provider.submit([submission(provider, "a", to="+" + "1" * 30), submission(provider, "b")])
        await until(lambda: len(sink.done) == 2)
        assert isinstance(sink.outcome("a")[0], PartRefused)
        assert isinstance(sink.outcome("b")[0], PartSent)


async def test_a_resend_after_a_broken_link_has_the_same_key(smsc: SandboxSmsc) -> None:
    sink = RecordingSink()
    sink.gate = asyncio.Event()
    async with started(smsc.port, sink):
        smsc.inject("+15005550007", "12345", "Hi")
        await until(lambda: "receiving" in sink.log)
        smsc.drop_links()
        await asyncio.sleep(0.02)
        sink.gate.set()
        await until(lambda: len(sink.inbound) == 2)
        assert sink.inbound[0].dedup == sink.inbound[1].dedup
        await until(lambda: smsc.acknowledged_deliveries == 1)
        smsc.inject("+15005550007", "12345", "Hi")
        await until(lambda: len(sink.inbound) == 3)
        assert sink.inbound[2].dedup != sink.inbound[0].dedup


async def test_a_slow_store_makes_the_link_stop_reading(smsc: SandboxSmsc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smpp_session, "INBOUND_HIGH", 20)
    monkeypatch.setattr(smpp_session, "INBOUND_LOW", 5)
    sink = RecordingSink()
    sink.gate = asyncio.Event()
    async with started(smsc.port, sink, response_timeout_s=0.2, enquire_link_s=0.1) as provider:
        for n in range(90):
            smsc.inject("+15005550007", "12345", f"text {n}")
        await asyncio.sleep(0.8)  # longer than the timers: what we do not read is not late
        assert provider.links()[0].state == "up"
        sink.gate.set()
        await until(lambda: len(sink.inbound) == 90)
        assert [part.text for part in sink.inbound] == [f"text {n}" for n in range(90)]
        assert sink.states == ["connecting", "up"]


async def test_a_commit_that_hangs_is_refused_for_now(smsc: SandboxSmsc) -> None:
    sink = RecordingSink()
    sink.gate = asyncio.Event()
    async with started(smsc.port, sink, receive_timeout_s=0.1):
        smsc.inject("+15005550007", "12345", "Hi")
        await until(lambda: sink.log.count("receiving") == 1)
        await asyncio.sleep(0.2)
        sink.gate.set()
        await until(lambda: smsc.acknowledged_deliveries)
        assert len(sink.inbound) == smsc.acknowledged_deliveries == 1


async def test_stop_waits_for_answers_and_gives_the_unwritten_back(smsc: SandboxSmsc) -> None:
    sink = RecordingSink()
    async with started(smsc.port, sink, window=5) as provider:
        provider.submit([submission(provider, f"a{n}") for n in range(20)])
        await provider.stop(30)
        assert len(sink.done) == 20
        sent = [o for o in sink.done if isinstance(o.parts[0], PartSent)]
        back = [o for o in sink.done if isinstance(o.parts[0], PartRetry)]
        assert (len(sent), len(back)) == (4, 16)
        assert not smsc._sessions


async def test_nothing_is_written_once_the_account_may_be_anothers(smsc: SandboxSmsc) -> None:
    sink = RecordingSink()
    async with started(smsc.port, sink) as provider:
        sink.ours = False
        provider.submit([submission(provider, f"a{n}") for n in range(3)])
        provider.tick()
        await provider.stop(1)
        assert smsc.submits == 0
        assert [type(outcome.parts[0]) for outcome in sink.done] == [PartRetry] * 3


async def test_it_writes_again_once_the_account_is_surely_ours(smsc: SandboxSmsc) -> None:
    sink = RecordingSink()
    async with started(smsc.port, sink) as provider:
        sink.ours = False
        provider.submit([submission(provider, "a")])
        sink.ours = True
        await until(lambda: smsc.submits == 1)


async def test_stop_without_answers_ends_in_time(smsc: SandboxSmsc) -> None:
    sink = RecordingSink()
    async with started(smsc.port, sink, response_timeout_s=600) as provider:
        provider.submit([submission(provider, "a", to=SILENT)])
        async with asyncio.timeout(30):
            await provider.stop(0.1)
        assert isinstance(sink.outcome("a")[0], PartUnknown)


class Mute:
    """A carrier that takes connections, and no word ever comes back."""

    def __init__(self) -> None:
        self.connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        await reader.read(-1)


async def test_stop_while_connecting() -> None:
    """A carrier that accepts the connection and never answers the bind."""
    mute, sink = Mute(), RecordingSink()
    async with Listening(mute.serve) as port, started(port, sink, up=False, requeue_s=60) as provider:
        provider.submit([submission(provider, "a")])
        await until(lambda: mute.connections)
        async with asyncio.timeout(30):  # less than `requeue_s` and the time-outs of a bind
            await provider.stop(0.05)
        assert isinstance(sink.outcome("a")[0], PartRetry)


async def test_bind_not_answered_is_a_timeout() -> None:
    mute, sink = Mute(), RecordingSink()
    async with Listening(mute.serve) as port, started(port, sink, up=False, bind_timeout_s=0.1) as provider:
        await until(lambda: mute.connections >= 2)
        assert provider.links()[0].last_error == "no answer within 0.1 s"


async def test_inactive_links_are_opened_again(smsc: SandboxSmsc) -> None:
    sink = RecordingSink()
    async with started(smsc.port, sink, enquire_link_s=0.05, inactivity_s=0.2):
        await until(lambda: sink.states.count("up") == 2)
        assert "inactive" in [link.last_error for link in sink.links]


def _certificate(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = folder / "cert.pem", folder / "key.pem"
    cert_file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return cert_file, key_file


@pytest.mark.parametrize(
    ("tls", "up"), [({"ca": "CERT"}, True), ({"verify": False}, True), (True, False), (False, False)]
)
async def test_tls(tmp_path: Path, tls: Any, up: bool) -> None:
    cert_file, key_file = _certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert_file, key_file)
    smsc = SandboxSmsc(system_id="perf", password="perf")
    await smsc.start(tls=context)
    if isinstance(tls, dict) and "ca" in tls:
        tls = {"ca": str(cert_file)}
    sink = RecordingSink()
    async with started(smsc.port, sink, up=up, tls=tls, bind_timeout_s=30 if up else 0.5) as provider:
        if up:
            provider.submit([submission(provider, "a")])
            await until(lambda: sink.receipts)
        else:
            await until(lambda: "backoff" in sink.states)
            assert "up" not in sink.states
    await smsc.stop()
