"""Two SMS carriers of the demo's own, for its live key: the first one refuses everything, so that the second has to take over."""

from typing import Final

from tidings.protocols.smpp.constants import Status
from tidings.sandbox.sms import SandboxSmsc

#: More submits than the demo makes.
_REFUSALS: Final = 1_000
FIRST, SECOND = "carrier-a", "carrier-b"


class Carriers:
    """`config` is what `tidings.toml` says of them."""

    def __init__(self) -> None:
        self._all = {FIRST: SandboxSmsc(password="demo"), SECOND: SandboxSmsc(password="demo")}

    async def start(self) -> None:
        """Listens; from now on the first one says that it has an error of its own."""
        for carrier in self._all.values():
            await carrier.start()
        self._all[FIRST].answer_next(*[int(Status.ESME_RSYSERR)] * _REFUSALS)

    async def stop(self) -> None:
        """Closes both."""
        for carrier in self._all.values():
            await carrier.stop()

    @property
    def config(self) -> str:
        """TOML."""
        return "".join(
            f'\n[[providers]]\nname = "{name}"\ntype = "sms.smpp"\nhost = "127.0.0.1"\nport = {carrier.port}\n'
            'system_id = "sandbox"\npassword = "demo"\n'
            for name, carrier in self._all.items()
        )
