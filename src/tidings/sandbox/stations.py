"""The carrier simulators of test keys: one for each channel, started with the server, reached over loopback only.

Every process has its own: those of an api process carry nothing, they only say what the provider looks like.
"""

import asyncio
from typing import Protocol

from tidings.channels.contract import ProviderSpec
from tidings.sandbox.email import SandboxEmail
from tidings.sandbox.push import SandboxPush
from tidings.sandbox.sms import SandboxSmsc
from tidings.sandbox.whatsapp import SandboxWhatsApp

_LOGIN = "sandbox"


class Station(Protocol):
    """A simulator of one channel's carrier."""

    async def start(self) -> None:
        """Listens."""
        ...

    async def stop(self) -> None:
        """Closes everything."""
        ...

    def spec(self, public_url: str) -> ProviderSpec:
        """The provider that sends to it; its callbacks go to the server at `public_url`."""
        ...


class SmsStation:
    """The SMSC, as a station."""

    def __init__(self, receipt_delay_s: float) -> None:
        self._smsc = SandboxSmsc(system_id=_LOGIN, password=_LOGIN, receipt_delay_s=receipt_delay_s)

    async def start(self) -> None:
        """See `Station`."""
        await self._smsc.start()

    async def stop(self) -> None:
        """See `Station`."""
        await self._smsc.stop()

    def spec(self, public_url: str) -> ProviderSpec:
        """See `Station`."""
        return sms_spec(self._smsc.port)


def sms_spec(port: int) -> ProviderSpec:
    """The provider `sandbox`."""
    config = {"host": "127.0.0.1", "port": port, "system_id": _LOGIN, "password": _LOGIN, "smart": True}
    return ProviderSpec(name="sandbox", type="sms.smpp", config=config, origin="sandbox")


class Stations:
    """All of them. What the mail simulator sends goes to our mail server, once `mail_to` has named it."""

    def __init__(self, receipt_delay_s: float) -> None:
        self._email = SandboxEmail(receipt_delay_s=receipt_delay_s)
        self._all: list[Station] = [
            SmsStation(receipt_delay_s),
            self._email,
            SandboxPush(receipt_delay_s=receipt_delay_s),
            SandboxWhatsApp(receipt_delay_s=receipt_delay_s),
        ]

    async def start(self, public_url: str) -> list[ProviderSpec]:
        """Their providers."""
        await asyncio.gather(*(station.start() for station in self._all))
        return [station.spec(public_url) for station in self._all]

    async def stop(self) -> None:
        """Closes everything."""
        await asyncio.gather(*(station.stop() for station in self._all))

    def mail_to(self, host: str, port: int) -> None:
        """Bounces, complaints and replies go there."""
        self._email.inbound = (host, port)
