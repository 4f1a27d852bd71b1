"""Plots as SVG, for a page or a file of their own: on logarithmic scales, readable on a phone, in light and in dark."""

import html
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

WIDTH, MARGIN, PLOT = 360, 12, 220
"""Units of the drawing, which is scaled to the width of the page: a phone shows about as many."""

NAMES, LABEL, BAR, BAR_WIDTH = 110, 26, 15, 186
"""Where the names beside bars end; the height of the label above them, and of each; the length of the longest."""

STYLE = (
    ".plot{font:11px system-ui,sans-serif;max-width:640px;width:100%;height:auto}"
    ".plot text{fill:#333}.plot .grid{stroke:#ddd;stroke-width:1}.plot .soft{fill:#666}"
    ".plot .mark{stroke-width:1.5}.plot .line{fill:none;stroke-width:1.5}"
    + "".join(
        f".plot .s{i}{{stroke:{color};fill:{color}}}.plot .line.s{i},.plot .open.s{i}{{fill:none}}"
        for i, color in enumerate(("#0072b2", "#d55e00", "#009e73", "#b0568c", "#8a6d00", "#3f7fbf", "#777", "#a33"))
    )
    + "@media(prefers-color-scheme:dark){.plot text{fill:#ddd}.plot .grid{stroke:#444}.plot .soft{fill:#aaa}"
    + "".join(
        f".plot .s{i}{{stroke:{color};fill:{color}}}.plot .line.s{i},.plot .open.s{i}{{fill:none}}"
        for i, color in enumerate(("#56b4e9", "#f0884c", "#2fc79b", "#e29bc5", "#e6c35c", "#8fb8e8", "#aaa", "#f08080"))
    )
    + "}"
)
"""The colours are told apart by most people who see few of them (Wong 2011, doi:10.1038/nmeth.1618), and so are the shapes."""

SERIES = 8
"""How many colours and shapes there are."""

_SHAPES = (
    "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0", "M-3.5 -3.5h7v7h-7z", "M0 -5L5 0L0 5L-5 0z", "M0 -4.5L4.5 3.5H-4.5z",
    "M0 4.5L4.5 -3.5H-4.5z", "M-4 -4L4 4M4 -4L-4 4", "M-5 0H5M0 -5V5", "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0",
)  # fmt: skip

_OPEN = 7
"""The shape that is drawn without filling."""


@dataclass(frozen=True)
class Scale:
    """A logarithmic scale from one place to another.

    Attributes
    ----------
    low, high : float
        Values at the ends; both are ticks.
    start, stop : float
        Places.
    """

    low: float
    high: float
    start: float
    stop: float

    @staticmethod
    def around(values: Sequence[float], start: float, stop: float) -> "Scale":
        """The scale of whole decades around some values, or of a part of one where they lie close together.

        Examples
        --------
        >>> Scale.around([0.3, 40.0], 0, 100)
        Scale(low=0.1, high=100.0, start=0, stop=100)
        """
        low, high = math.floor(math.log10(min(values)) + 1e-9), math.ceil(math.log10(max(values)) - 1e-9)
        return Scale(10.0**low, 10.0 ** max(high, low + 1), start, stop)

    def place(self, value: float) -> float:
        """Where a value lies."""
        part = math.log(value / self.low) / math.log(self.high / self.low)
        return round(self.start + part * (self.stop - self.start), 1)

    @property
    def ticks(self) -> list[float]:
        """At most seven decades; with what lies between, where there are one or two."""
        low, high = round(math.log10(self.low)), round(math.log10(self.high))
        step = -(-(high - low) // 6)
        between = (1, 2, 5) if high - low <= 2 else (1,)
        found = [times * 10.0**decade for decade in range(low, high + 1, step) for times in between]
        return [tick for tick in found if tick <= self.high * 1.001]


@dataclass(frozen=True)
class Point:
    """A point of a plot, with an interval up and down where it has one."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None


def time_text(seconds: float) -> str:
    """A time for a tick or a table.

    Examples
    --------
    >>> time_text(0.0025), time_text(2e-7), time_text(90.0)
    ('2.5 ms', '0.2 µs', '90 s')
    """
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}" if seconds < 1000 * size else f"{seconds / size:,.0f} {unit}"
    return f"{seconds * 1e6:.3g} µs"


def count_text(count: float) -> str:
    """A number of things for a tick.

    Examples
    --------
    >>> count_text(131072), count_text(50)
    ('131k', '50')
    """
    for letter, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= size:
            return f"{count / size:.3g}{letter}"
    return f"{count:.3g}"


def bars(title: str, rows: Mapping[str, Mapping[str, float]], text: Callable[[float], str] = time_text) -> str:
    """Bars for each thing that was measured, whose longest fills the width: each thing has its own scale, from 0.

    Parameters
    ----------
    title : str
        For those who don't see the plot.
    rows : mapping of str to mapping of str to float
        Label, series, value above 0.
    text : callable
        Writes a value.
    """
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    parts, y = [], 0
    for label, row in rows.items():
        y += LABEL
        parts.append(f'<text x="{MARGIN}" y="{y - 6}">{shown(label, 56)}</text>')
        for name, value in row.items():
            width = max(1.0, BAR_WIDTH * value / max(row.values()))
            style = f"s{names.index(name) % SERIES}"
            parts.append(f'<text class="soft" text-anchor="end" x="{NAMES}" y="{y + 10}">{shown(name, 17)}</text>')
            parts.append(f'<rect class="{style}" x="{NAMES + 6}" y="{y + 1}" width="{width:.1f}" height="{BAR - 4}"/>')
            parts.append(f'<text x="{NAMES + 10 + width:.1f}" y="{y + 10}">{shown(text(value), 12)}</text>')
            y += BAR
    return _svg(title, y + 6, parts)


def curves(
    title: str,
    series: Mapping[str, Sequence[Point]],
    axes: tuple[str, str],
    texts: tuple[Callable[[float], str], Callable[[float], str]],
    diagonal: bool = False,
) -> str:
    """A plot of points in a plane: joined by lines, or beside the diagonal on which both coordinates are equal.

    Parameters
    ----------
    title : str
    series : mapping of str to sequence of Point
    axes : (str, str)
        What is along and what is up.
    texts : (callable, callable)
        Write a value on a tick of each.
    diagonal : bool
    """
    legend, top = _legend(list(series))
    top += 16
    points = [point for each in series.values() for point in each]
    ups = [value for point in points for value in (point.y, point.low, point.high) if value is not None]
    alongs = [point.x for point in points]
    if diagonal:
        ups = alongs = [*ups, *alongs]
    x, y = Scale.around(alongs, 58, WIDTH - MARGIN), Scale.around(ups, top + PLOT, top)
    parts = [*legend, *_plane(x, y, axes, texts)]
    if diagonal:
        parts.append(_line(x.start, y.start, x.stop, y.stop))
    for number, (name, each) in enumerate(series.items()):
        if not diagonal:
            parts.append(_path([(x.place(point.x), y.place(point.y)) for point in each], number))
        for point in each:
            at = x.place(point.x)
            if point.low is not None and point.high is not None:
                parts.append(_path([(at, y.place(point.low)), (at, y.place(point.high))], number))
            parts.append(_mark(at, y.place(point.y), number, f"{name}: {texts[0](point.x)}, {texts[1](point.y)}"))
    return _svg(title, top + PLOT + 36, parts)


def _plane(
    x: Scale, y: Scale, axes: tuple[str, str], texts: tuple[Callable[[float], str], Callable[[float], str]]
) -> list[str]:
    """The grid with its values, and what is along and what is up."""
    parts = [f'<text class="soft" x="{MARGIN}" y="{y.stop - 6:g}">{shown(axes[1], 52)}</text>']
    parts += [_line(x.place(tick), y.stop, x.place(tick), y.start) for tick in x.ticks]
    for tick in y.ticks:
        parts.append(_line(x.start, y.place(tick), x.stop, y.place(tick)))
        parts.append(f'<text text-anchor="end" x="53" y="{y.place(tick) + 4:.1f}">{shown(texts[1](tick), 12)}</text>')
    parts += _ticks(x, texts[0], y.start + 14)
    parts.append(
        f'<text class="soft" text-anchor="end" x="{x.stop:g}" y="{y.start + 30:g}">{shown(axes[0], 52)}</text>'
    )
    return parts


def standalone(svg: str) -> str:
    """A plot as a file of its own, which brings its style along."""
    head, _, rest = svg.partition(">")
    return f'{head} xmlns="http://www.w3.org/2000/svg"><style>{html.escape(STYLE, quote=False)}</style>{rest}\n'


def shown(text: str, most: int = 80) -> str:
    """Text from anywhere, cut to a length and made harmless in HTML and SVG.

    Examples
    --------
    >>> shown("<b>", 80), shown("abcdef", 4)
    ('&lt;b&gt;', 'abc…')
    """
    plain = "".join(c if c.isprintable() else "?" for c in text)
    return html.escape(plain if len(plain) <= most else plain[: most - 1] + "…")


def _svg(title: str, height: float, parts: Sequence[str]) -> str:
    words = shown(title, 200)
    return (
        f'<svg class="plot" role="img" aria-label="{words}" viewBox="0 0 {WIDTH} {height:g}"><title>{words}</title>'
        + "".join(parts)
        + "</svg>"
    )


def _legend(names: Sequence[str]) -> tuple[list[str], float]:
    """The marks with their names, as many lines as they need, and where what follows may begin."""
    parts, x, y = [], float(MARGIN), 12.0
    for number, name in enumerate(names):
        width = 22 + 6.2 * min(len(name), 40)
        if x + width > WIDTH and x > MARGIN:
            x, y = float(MARGIN), y + 17
        parts.append(_mark(x + 5, y - 4, number))
        parts.append(f'<text x="{x + 14:.1f}" y="{y:g}">{shown(name, 40)}</text>')
        x += width
    return parts, y + 10


def _ticks(scale: Scale, text: Callable[[float], str], y: float) -> list[str]:
    """The values along the bottom; of more than five, every other one is left out."""
    ticks = scale.ticks[:: 1 if len(scale.ticks) <= 5 else 2]
    parts = []
    for tick in ticks:
        x = scale.place(tick)
        anchor = "end" if x > WIDTH - 30 else "start" if x < 30 else "middle"
        parts.append(f'<text class="soft" text-anchor="{anchor}" x="{x}" y="{y:g}">{shown(text(tick), 12)}</text>')
    return parts


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="grid" x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}"/>'


def _path(places: Sequence[tuple[float, float]], number: int) -> str:
    """A line through some places."""
    joined = "L".join(f"{x:g} {y:g}" for x, y in places)
    return f'<path class="line s{number % SERIES}" d="M{joined}"/>'


def _mark(x: float, y: float, number: int, words: str = "") -> str:
    number %= SERIES
    said = f"<title>{shown(words)}</title>" if words else ""
    style = f"mark s{number}{' open' if number == _OPEN else ''}"
    return f'<path class="{style}" transform="translate({x:g} {y:g})" d="{_SHAPES[number]}">{said}</path>'
