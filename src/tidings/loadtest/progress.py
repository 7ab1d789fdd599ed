"""One line about a running test: rewritten in place on a terminal, a line now and then elsewhere."""

from time import monotonic
from typing import TYPE_CHECKING, Final, TextIO

if TYPE_CHECKING:
    from tidings.loadtest.run import LoadTest

_EVERY_TERMINAL_S: Final = 0.2
_EVERY_PLAIN_S: Final = 5.0


class Progress:
    """Give `show` to a LoadTest."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._terminal = out.isatty()
        self._next_s = 0.0
        self._width = 0

    def show(self, test: "LoadTest") -> None:
        """Writes, if it is time."""
        now_s = monotonic()
        if now_s < self._next_s or test.phase == "setting up":
            return
        self._next_s = now_s + (_EVERY_TERMINAL_S if self._terminal else _EVERY_PLAIN_S)
        line = line_of(test)
        if self._terminal:
            self._out.write("\r" + line.ljust(self._width))
            self._width = len(line)
        else:
            self._out.write(line + "\n")
        self._out.flush()

    def end(self) -> None:
        """Leaves the line behind."""
        if self._terminal and self._width:
            self._out.write("\r" + " " * self._width + "\r")
            self._out.flush()


def line_of(test: "LoadTest") -> str:
    """`12.0 s of 60 s  sent 6,000  accepted 5,998  at the carrier 5,996  settled 5,900  202 p99 4.1 ms  lag p99 0.3 ms`."""
    recorder, plan = test.recorder, test.plan
    ledger = recorder.ledger
    what = f"of {plan.duration_s:g} s" if test.phase == "sending" else "waiting for the rest"
    parts = [f"{recorder.elapsed_s:5.1f} s {what}", f"sent {len(ledger):,}", f"accepted {ledger.accepted:,}"]
    if ledger.refused or ledger.no_answer:
        parts.append(f"refused {ledger.refused + ledger.no_answer:,}")
    if ledger.taken:
        parts.append(f"at the carrier {ledger.taken:,}")
    parts.append(f"settled {ledger.settled:,}")
    point = recorder.points[-1] if recorder.points else None
    if point is not None:
        parts.append(f"202 p99 {point.accept_p99_ms:.1f} ms")
    parts.append(f"lag p99 {recorder.lag.percentile_ms(99):.1f} ms")
    return "  ".join(parts)
