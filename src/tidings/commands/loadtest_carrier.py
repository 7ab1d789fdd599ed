"""The far side that `tidings loadtest` brings along: the sandbox SMSC with a log, and a mix of receipts.

It stands here and not in `loadtest/`, as rooms side by side do not know each other: this is where they meet.
"""

import random
from time import monotonic
from typing import Any, Final

import msgspec

from tidings.loadtest.plan import Fate
from tidings.loadtest.recorder import Recorder
from tidings.protocols.smpp.concat import concat_of
from tidings.protocols.smpp.pdu import Sm
from tidings.sandbox.recipients import Behaviour
from tidings.sandbox.sms import SandboxSmsc

_BEHAVIOURS: Final[dict[Fate, Behaviour]] = {
    "delivered": Behaviour(),
    "undelivered": Behaviour(receipt="undeliverable", error="001"),
    "none": Behaviour(receipt=None),
}


class LoadCarrier(SandboxSmsc):
    """Takes everything; each receipt comes after `receipt_delay_s` ± half of it, of the kind that the mix says."""

    def __init__(
        self,
        recorder: Recorder,
        *,
        mix: dict[Fate, float],
        receipt_delay_s: float,
        rate_per_s: float,
        window: int,
        binds: int,
        host: str = "127.0.0.1",
        seed: int = 1,
    ) -> None:
        super().__init__(host, 0, system_id="loadtest", password="loadtest", receipt_delay_s=receipt_delay_s)
        self.rate_per_s = rate_per_s
        self._recorder, self._rng = recorder, random.Random(seed)
        self._fates, self._shares = list(mix), list(mix.values())
        self._window, self._binds = window, binds

    def provider(self) -> tuple[str, dict[str, Any]]:
        """See `loadtest.stage.Carrier`."""
        config = {
            "host": self.host, "port": self.port, "system_id": "loadtest", "password": "loadtest", "smart": True,
            "rate_per_s": self.rate_per_s, "window": self._window, "binds": {"transceiver": self._binds},
        }  # fmt: skip
        return "sms.smpp", config

    def submitted(self, sm: Sm) -> tuple[int, str] | None:
        """Notes the submit when it is read; the first part stands for the message."""
        at_s = monotonic()
        concat, data = concat_of(sm)
        if concat is None or concat.part == 1:
            n = self._recorder.submitted(data, at_s)
        else:
            n = -1
            self._recorder.rate.submit(at_s)
        answer = super().submitted(sm)
        if n >= 0 and (answer is None or answer[0] == 0):
            self._recorder.taken(n, at_s)
        return answer

    def _play(self, sm: Sm, behaviour: Behaviour, message_id: str, *, whole: bool) -> None:
        """What becomes of it is the mix's choice, not the recipient's."""
        fate = self._rng.choices(self._fates, self._shares)[0]
        n = self._recorder.number_of_text(concat_of(sm)[1])
        delay_s = self._receipt_delay_s * (0.5 + self._rng.random())
        chosen = msgspec.structs.replace(_BEHAVIOURS[fate], delay_s=delay_s)
        if n >= 0:
            if fate == "none":
                self._recorder.ledger.receipt(n, fate, monotonic())
            else:
                self._after(delay_s, lambda: self._recorder.ledger.receipt(n, fate, monotonic()))
        super()._play(sm, chosen, message_id, whole=whole)
