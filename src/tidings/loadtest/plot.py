"""Plots as inline SVG: lines over time, and histograms. Colours come from the page's style sheet. Pure."""

import math
from collections.abc import Callable
from html import escape
from typing import Final

import msgspec

WIDTH: Final = 920
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 12, 10, 26
_TICKS: Final = 5


class Line(msgspec.Struct, frozen=True):
    """One line of a plot: (x, y) points; `css` is its class (s1 …), `area` fills below it."""

    name: str
    css: str
    points: list[tuple[float, float]]
    area: bool = False


def lines(title: str, drawn: list[Line], *, y_unit: str, height: int = 240, log: bool = False) -> str:
    """Lines over seconds. `log`: the y axis is logarithmic, for latencies."""
    most_x = max((x for line in drawn for x, _ in line.points), default=1.0) or 1.0
    values = [y for line in drawn for _, y in line.points if y > 0]
    ticks = (
        log_ticks(min(values, default=0.1), max(values, default=1.0)) if log else linear_ticks(max(values, default=1.0))
    )
    box = _Box(height, most_x, ticks, log=log)
    body = [box.grid(y_unit), box.time_axis()]
    for line in drawn:
        dots = [(box.x(x), box.y(y)) for x, y in line.points if y > 0 or not log]
        if not dots:
            continue
        path = "M" + " L".join(f"{x:.1f} {y:.1f}" for x, y in dots)
        if line.area:
            floor = box.floor
            body.append(
                f'<path class="area {line.css}" d="{path} L{dots[-1][0]:.1f} {floor} L{dots[0][0]:.1f} {floor}Z"/>'
            )
        body.append(f'<path class="line {line.css}" d="{path}"/>')
        if len(dots) == 1:
            body.append(f'<circle class="dot {line.css}" cx="{dots[0][0]:.1f}" cy="{dots[0][1]:.1f}" r="3"/>')
    legend = "".join(f'<span class="key {line.css}">{escape(line.name)}</span>' for line in drawn)
    return _figure(title, legend, box.svg("".join(body), title))


def used_bins(edges_ms: list[float], several: list[list[int]]) -> tuple[int, int]:
    """The first and the last bin that a plot of all of them needs: lanes above each other then share an axis."""
    used = [n for bins in several for n, count in enumerate(bins) if count] or [0]
    return max(0, min(used) - 1), min(len(edges_ms) - 1, max(used) + 1)


def histogram(
    title: str, css: str, edges_ms: list[float], bins: list[int], marks: list[tuple[str, float]], shown: tuple[int, int]
) -> str:
    """Bars over a logarithmic latency axis from the first to the last bin `shown`; `marks` are (name, ms)."""
    first, last = shown
    low, high = math.log(edges_ms[max(0, first - 1)]), math.log(edges_ms[last])
    height, floor, peak = 150, 150 - _BOTTOM, max(bins) or 1
    span = (high - low) or 1.0

    def x_of(value_ms: float) -> float:
        return _LEFT + (math.log(max(value_ms, 1e-6)) - low) / span * (WIDTH - _LEFT - _RIGHT)

    body: list[str] = []
    for n in range(first, last + 1):
        left, right = x_of(edges_ms[max(0, n - 1)]), x_of(edges_ms[n])
        tall = bins[n] / peak * (floor - _TOP - 12)
        if bins[n] and right > left:
            title_of = f"<title>{bins[n]:,} up to {figure_ms(edges_ms[n])}</title>"
            body.append(
                f'<rect class="bar {css}" x="{left + 0.5:.1f}" y="{floor - max(tall, 1):.1f}" width="{right - left - 1:.1f}"'
                f' height="{max(tall, 1):.1f}">{title_of}</rect>'
            )
    body.append(f'<path class="axis" d="M{_LEFT} {floor} H{WIDTH - _RIGHT}"/>')
    for tick in decades(math.exp(low), math.exp(high)):
        body.append(
            f'<text class="tick" x="{x_of(tick):.1f}" y="{height - 8}" text-anchor="middle">{figure_ms(tick)}</text>'
        )
    body += _marks(marks, x_of, floor)
    svg = f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">{"".join(body)}</svg>'
    return _figure(title, "", svg)


def _marks(marks: list[tuple[str, float]], x_of: Callable[[float], float], floor: int) -> list[str]:
    """Dashed lines with a name; names that would overlap are left out, their lines stay."""
    drawn: list[str] = []
    taken = -100.0
    for name, value_ms in marks:
        x = x_of(value_ms)
        drawn.append(f'<path class="mark" d="M{x:.1f} {_TOP} V{floor}"/>')
        if x - taken > 46:
            side, shift = ("end", -4) if x > WIDTH - 70 else ("start", 4)
            drawn.append(
                f'<text class="note" x="{x + shift:.1f}" y="{_TOP + 8}" text-anchor="{side}">{escape(name)}</text>'
            )
            taken = x
    return drawn


class _Box:
    """The coordinates of a plot over time."""

    def __init__(self, height: int, most_x: float, ticks: list[float], *, log: bool) -> None:
        self.height, self.floor, self._most_x, self._ticks, self._log = height, height - _BOTTOM, most_x, ticks, log
        self._low, self._high = self._scaled(ticks[0]), self._scaled(ticks[-1])

    def _scaled(self, value: float) -> float:
        return math.log(max(value, 1e-6)) if self._log else value

    def x(self, value: float) -> float:
        return _LEFT + value / self._most_x * (WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        share = (self._scaled(value) - self._low) / ((self._high - self._low) or 1.0)
        return self.floor - min(max(share, 0.0), 1.0) * (self.floor - _TOP)

    def grid(self, unit: str) -> str:
        rows = [f'<path class="grid" d="M{_LEFT} {self.y(tick):.1f} H{WIDTH - _RIGHT}"/>' for tick in self._ticks]
        rows += [
            f'<text class="tick" x="{_LEFT - 8}" y="{self.y(tick) + 3.5:.1f}" text-anchor="end">{_figure_of(tick, unit)}</text>'
            for tick in self._ticks
        ]
        return "".join(rows)

    def time_axis(self) -> str:
        return "".join(
            f'<text class="tick" x="{self.x(tick):.1f}" y="{self.height - 8}" text-anchor="middle">{tick:g} s</text>'
            for tick in linear_ticks(self._most_x)
            if tick <= self._most_x
        )

    def svg(self, body: str, title: str) -> str:
        return f'<svg viewBox="0 0 {WIDTH} {self.height}" role="img" aria-label="{escape(title)}">{body}</svg>'


def linear_ticks(most: float) -> list[float]:
    """0 and about five round steps up to `most` and over it."""
    raw = max(most, 1e-9) / _TICKS
    size = 10 ** math.floor(math.log10(raw))
    step = next(factor * size for factor in (1, 2, 2.5, 5, 10) if factor * size >= raw * 0.999)
    return [round(n * step, 9) for n in range(math.ceil(most / step - 1e-9) + 1)]


def log_ticks(least: float, most: float) -> list[float]:
    """1, 2, 5, 10 … around the values; at least one decade. Long ranges get whole decades only."""
    low, high = math.floor(math.log10(least)), math.ceil(math.log10(max(most, least * 1.001)))
    if high - low > 2:
        return [10.0**n for n in range(low, high + 1)]
    fine = [factor * 10.0**n for n in range(low, high + 1) for factor in (1, 2, 5)]
    first = max((n for n, tick in enumerate(fine) if tick <= least), default=0)
    last = min((n for n, tick in enumerate(fine) if tick >= most), default=len(fine) - 1)
    return fine[first : max(last, first + 3) + 1]


def decades(least: float, most: float) -> list[float]:
    """1, 2, 5 steps within a range, thinned to at most ten or so."""
    found = [
        f * 10.0**n for n in range(math.floor(math.log10(least)), math.ceil(math.log10(most)) + 1) for f in (1, 2, 5)
    ]
    inside = [tick for tick in found if least <= tick <= most]
    return inside if len(inside) <= 11 else [tick for tick in inside if math.log10(tick) % 1 < 1e-9]


def figure_ms(value_ms: float) -> str:
    """`0.45 ms`, `12 ms`, `1.5 s`."""
    if value_ms >= 1000:
        return f"{value_ms / 1000:.3g} s"
    return f"{value_ms:.3g} ms"


def _figure_of(value: float, unit: str) -> str:
    return figure_ms(value) if unit == "ms" else f"{value:,.10g}"


def _figure(title: str, legend: str, svg: str) -> str:
    return f"<figure><figcaption><b>{escape(title)}</b>{legend}</figcaption>{svg}</figure>"
