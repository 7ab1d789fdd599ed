"""Latencies in a fixed space: about 1.6 % precise from a microsecond to an hour, whatever their number.

Log-linear buckets as in HdrHistogram (64 steps for each power of two); recording is one addition to an array.
Source: hdrhistogram.org
"""

import math
from array import array
from typing import Final

_BITS: Final = 6
_STEPS: Final = 1 << _BITS
_OCTAVES: Final = 32  # of microseconds: 2^32 µs are 71 minutes; longer ones count as that
_SIZE: Final = _STEPS * (_OCTAVES - _BITS + 1)


class Histogram:
    """Counts of latencies. Given and answered in milliseconds."""

    __slots__ = ("_buckets", "count", "max_ms", "sum_ms")

    def __init__(self) -> None:
        self._buckets = array("Q", bytes(8 * _SIZE))
        self.count = 0
        self.sum_ms = 0.0
        self.max_ms = 0.0

    def record(self, latency_ms: float) -> None:
        """Adds one; less than nothing (clocks) counts as nothing."""
        micros = int(latency_ms * 1000)
        if micros < 0:
            micros, latency_ms = 0, 0.0
        self._buckets[_index(micros)] += 1
        self.count += 1
        self.sum_ms += latency_ms
        if latency_ms > self.max_ms:
            self.max_ms = latency_ms

    def add(self, other: "Histogram") -> None:
        """Adds all of another."""
        for n, value in enumerate(other._buckets):
            if value:
                self._buckets[n] += value
        self.count += other.count
        self.sum_ms += other.sum_ms
        self.max_ms = max(self.max_ms, other.max_ms)

    def percentile_ms(self, percent: float) -> float:
        """The latency that `percent` of all do not exceed, rounded up to its bucket; 0 if there are none."""
        if not self.count:
            return 0.0
        wanted = max(1, math.ceil(self.count * percent / 100))
        seen = 0
        for n, value in enumerate(self._buckets):
            seen += value
            if seen >= wanted:
                return min(self.max_ms, _upper(n) / 1000) if n < _SIZE - 1 else self.max_ms
        return self.max_ms

    def bins(self, edges_ms: list[float]) -> list[int]:
        """How many lie below each edge and not below the one before; the last item: above all edges."""
        counts = [0] * (len(edges_ms) + 1)
        at = 0
        for n, value in enumerate(self._buckets):
            if not value:
                continue
            middle_ms = (_lower(n) + _upper(n)) / 2000
            while at < len(edges_ms) and middle_ms >= edges_ms[at]:
                at += 1
            counts[at] += value
        return counts


def _index(micros: int) -> int:
    if micros < _STEPS:
        return micros
    octave = micros.bit_length() - _BITS - 1
    if octave >= _OCTAVES - _BITS:
        return _SIZE - 1
    return (octave + 1) * _STEPS + (micros >> octave) - _STEPS


def _lower(index: int) -> int:
    octave, step = divmod(index, _STEPS)
    return step if octave == 0 else (step + _STEPS) << (octave - 1)


def _upper(index: int) -> int:
    octave = index // _STEPS
    return _lower(index) + (1 << max(0, octave - 1))
