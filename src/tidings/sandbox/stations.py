"""The carrier simulators of test keys: one for each channel, started with the server, reached over loopback only.

Every process has its own: those of an api process carry nothing, they only say what the provider looks like.
"""

import asyncio
import contextlib
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


async def start(receipt_delay_s: float, public_url: str, stack: contextlib.AsyncExitStack) -> list[ProviderSpec]:
    """Starts every station; they stop with the stack. Their providers."""
    stations: list[Station] = [
        SmsStation(receipt_delay_s),
        SandboxEmail(receipt_delay_s=receipt_delay_s),
        SandboxPush(receipt_delay_s=receipt_delay_s),
        SandboxWhatsApp(receipt_delay_s=receipt_delay_s),
    ]
    for station in stations:
        stack.push_async_callback(station.stop)
    await asyncio.gather(*(station.start() for station in stations))
    return [station.spec(public_url) for station in stations]
