"""The engine of carriers over HTTP, against a simulated Twilio: what is sent again, what is not, and when it rests."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qsl

import pytest

from peers.carriers import RecordingSink, submission, until
from peers.http_carriers import TwilioCarrier, twilio_carrier
from tidings.channels.contract import ProviderSpec
from tidings.channels.sms.twilio import TwilioProvider
from tidings.domain.attempt import PartRefused, PartRetry, PartSent, PartUnknown

TO, SILENT = "+15005550001", "+15005550009"


class Rig:
    """A started provider, its carrier and what it reported."""

    def __init__(self, provider: TwilioProvider, carrier: TwilioCarrier, sink: RecordingSink) -> None:
        self.provider, self.carrier, self.sink = provider, carrier, sink
        self.names: list[str] = []

    def send(self, count: int = 1, to: str = TO, **more: Any) -> list[str]:
        names = [f"a{len(self.names) + n}" for n in range(count)]
        self.names += names
        self.provider.submit([submission(self.provider, name, to, **more) for name in names])
        return names

    async def settled(self, timeout_s: float = 30.0) -> list[Any]:
        await until(lambda: len(self.sink.done) >= len(self.names), timeout_s)
        return [part for name in self.names for part in self.sink.outcome(name)]

    @property
    def state(self) -> str:
        return self.provider.links()[0].state


@pytest.fixture
def rigs() -> Callable[..., Any]:
    @asynccontextmanager
    async def opened(**config: Any) -> AsyncIterator[Rig]:
        sink = RecordingSink()
        async with twilio_carrier() as carrier:
            spec = ProviderSpec(name="acme", type="sms.twilio", config={**carrier.config, **config})
            provider = TwilioProvider(spec, sink)
            carrier.attach(provider, sink)
            await provider.start()
            try:
                yield Rig(provider, carrier, sink)
            finally:
                await provider.stop(0)

    return opened


async def test_the_request(rigs: Any) -> None:
    async with rigs() as rig:
        until_ms = time.time_ns() // 1_000_000 + 60_500
        rig.send(text="Grüße 😀 €", user_ref=513, valid_until_ms=until_ms, sender="ACME")
        await rig.settled()
        fields = dict(parse_qsl(rig.carrier.bodies[0].decode()))
        assert fields == {
            "From": "ACME", "To": TO, "Body": "Grüße 😀 €", "ValidityPeriod": "60",
            "StatusCallback": "https://sms.example.com/callbacks/acme?ref=513",
        }  # fmt: skip
        head = rig.carrier.requests[0].headers
        assert head["Authorization"].startswith("Basic ")
        assert rig.carrier.requests[0].path == f"/2010-04-01/Accounts/{rig.carrier.config['account_sid']}/Messages.json"


async def test_a_message_without_a_sender_is_refused(rigs: Any) -> None:
    async with rigs() as rig:
        rig.send(sender=None)
        (part,) = await rig.settled()
        assert isinstance(part, PartRefused)
        assert part.error.code == "invalid_sender"
        assert rig.carrier.written == 0


async def test_connections_are_kept(rigs: Any) -> None:
    async with rigs(window=4, response_timeout_s=20) as rig:
        rig.send(40)
        await rig.settled()
        assert len({request.transport for request in rig.carrier.requests}) <= 4
        assert rig.carrier.written == 40


async def test_the_window_holds_and_keeps_a_fifth_for_otp(rigs: Any) -> None:
    async with rigs(window=5, response_timeout_s=20) as rig:
        assert (rig.provider.credit("marketing"), rig.provider.credit("otp")) == (4, 5)
        rig.send(9, to=SILENT, lane="marketing")
        await until(lambda: rig.carrier.written == 4)
        assert rig.provider.credit("marketing") == 0
        rig.send(lane="otp")
        await until(lambda: len(rig.sink.done) == 1)
        assert rig.carrier.written == 5


async def test_no_connection_is_tried_again_and_then_given_back(rigs: Any) -> None:
    async with rigs(base_url="http://127.0.0.1:9") as rig:
        rig.send(3)
        parts = await rig.settled()
        assert {type(part) for part in parts} == {PartRetry}
        assert {part.error.code for part in parts} == {"no_link"}
        assert "backoff" in rig.sink.states
        assert rig.provider.links()[0].last_error


async def test_nothing_is_written_once_the_account_may_be_anothers(rigs: Any) -> None:
    async with rigs() as rig:
        rig.sink.ours = False
        rig.send(3)
        await asyncio.sleep(0)
        await rig.provider.stop(1)
        assert {type(part) for part in await rig.settled()} == {PartRetry}
        assert rig.carrier.written == 0


async def test_it_writes_again_once_the_account_is_surely_ours(rigs: Any) -> None:
    async with rigs() as rig:
        rig.sink.ours = False
        rig.send()
        rig.sink.ours = True
        assert {type(part) for part in await rig.settled()} == {PartSent}


async def test_a_private_address_is_not_dialled(rigs: Any) -> None:
    async with rigs(allow_networks=["10.0.0.0/8"]) as rig:
        rig.send()
        (part,) = await rig.settled()
        assert isinstance(part, PartRetry)
        assert rig.carrier.written == 0
        assert "private" in str([link.last_error for link in rig.sink.links])


async def test_five_hundreds_are_unknown_and_trip_the_breaker(rigs: Any) -> None:
    async with rigs(reconnect_min_s=5, reconnect_max_s=5) as rig:
        rig.carrier.answer_next(502, "bad gateway", times=5)
        rig.send(5)
        assert await rig.settled() == [PartUnknown("http_502")] * 5
        assert rig.state == "backoff"
        assert rig.provider.credit("otp") == 0
        assert rig.carrier.written == 5  # none of them twice


async def test_refused_credentials_stop_everything(rigs: Any) -> None:
    async with rigs(window=1) as rig:
        rig.carrier.error_next(401, 20003)
        rig.send(6)
        parts = await rig.settled()
        assert {type(part) for part in parts} == {PartRetry}
        assert {part.error.code for part in parts} == {"bad_credentials"}
        assert (rig.state, rig.carrier.written, rig.provider.credit("otp")) == ("auth_failed", 1, 0)


async def test_retry_after_is_kept(rigs: Any) -> None:
    async with rigs() as rig:
        rig.carrier.answer_next(429, {"code": 20429}, {"Retry-After": "2"})
        began = time.monotonic()
        rig.send(2)
        assert {type(part) for part in await rig.settled()} == {PartSent}
        assert time.monotonic() - began >= 1.9
        assert rig.carrier.written == 3


async def test_a_long_retry_after_gives_everything_back(rigs: Any) -> None:
    async with rigs(window=1) as rig:
        rig.carrier.answer_next(429, {"code": 20429}, {"Retry-After": "900"})
        rig.send(4)
        parts = await rig.settled()
        assert {(type(part), part.after_s) for part in parts} == {(PartRetry, 900.0)}
        assert rig.provider.credit("otp") == 0
        assert rig.carrier.written == 1


async def test_the_rate_counts_segments(rigs: Any) -> None:
    async with rigs(rate_per_s=10) as rig:
        began = time.monotonic()
        rig.send(8, text="x" * 300)  # two segments each
        await rig.settled()
        assert time.monotonic() - began >= 1.0


async def test_a_cut_line_is_unknown_and_what_was_not_written_is_sent(rigs: Any) -> None:
    async with rigs(window=4, response_timeout_s=20) as rig:
        rig.send(1, to=SILENT)
        rig.send(1, to=SILENT)
        rig.send(3)
        rig.carrier.drop_links()
        parts = await rig.settled()
        assert parts[:2] == [PartUnknown("connection_lost")] * 2
        assert {type(part) for part in parts[2:]} == {PartSent}


async def test_stopping_before_anything_was_written_is_not_unknown(rigs: Any) -> None:
    async with rigs() as rig:
        rig.send(3)
        await rig.provider.stop(0)
        assert {type(part) for part in await rig.settled()} == {PartRetry}
        await asyncio.sleep(0.05)
        assert rig.carrier.written == 0


async def test_the_query(rigs: Any) -> None:
    async with rigs() as rig:
        said = {"sid": "SM1", "status": "undelivered", "error_code": 30003}
        rig.carrier.answer_next(200, said)
        receipt = await rig.provider.query("SM1", "ACME", TO)
        assert (receipt.refs, receipt.state, receipt.error_code, receipt.to) == (("SM1",), "undelivered", "30003", TO)
        for status, body in ((404, {}), (200, "x"), (200, said | {"sid": "SM2"}), (200, {"sid": "SM1"})):
            rig.carrier.answer_next(status, body)
            assert await rig.provider.query("SM1", None) is None
        assert await rig.provider.query("", None) is None
        rig.carrier.answer_next(200, json.dumps({"sid": "SM1", "status": "sent", "error_code": None}))
        assert (await rig.provider.query("SM1", None)).state == "pending"


@pytest.mark.parametrize("length", [1_600, 1_601])
async def test_a_text_that_twilio_would_not_take(rigs: Any, length: int) -> None:
    async with rigs() as rig:
        if length > 1_600:
            with pytest.raises(ValueError, match="1600"):
                rig.provider.plan("x" * length)
        else:
            assert len(rig.provider.plan("x" * length).parts) == 1
