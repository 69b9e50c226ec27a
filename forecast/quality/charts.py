"""The page's charts as SVG in the page's colours: drawn by hand, so that a page of years stays small."""

from collections.abc import Iterator, Sequence
from datetime import date
from html import escape
from itertools import groupby

from forecast.quality.quality import Clocks, Quality
from forecast.quality.words import spoken_fault
from forecast.wording import fixed, percent

#: Okabe and Ito's hues, as in every page; the style sheet names these two.
COLOURS = {"forecast": "#0072b2", "limit": "#d55e00"}

#: Completeness below each of these shares has a shade of its own, from the palest; all and nothing have theirs too.
SHADES = (0.5, 0.8, 0.95, 0.999)

#: Days share a column beyond this many.
_COLUMNS = 184

_WIDTH, _LABEL, _ROW, _AXIS = 1080, 230, 22, 26


def completeness(quality: Quality) -> str:
    """A strip per signal and level, a column per day; nothing for a single day."""
    if len(quality.days) < 2:
        return ""
    rows = [
        (f"{row.signal}, {row.level}", list(_runs(_columned(row.by_day), quality.days, row.by_day)))
        for row in quality.coverage
    ]
    size = (_WIDTH - _LABEL) / _columns(len(quality.days))
    parts = []
    for at, (label, runs) in enumerate(rows):
        parts.append(_label(label, at))
        for first, end, shade, title in runs:
            place = f'x="{_LABEL + first * size:.1f}" y="{at * _ROW + 2}"'
            extent = f'width="{(end - first) * size:.1f}" height="{_ROW - 4}"'
            parts.append(f'<rect class="s{shade}" {place} {extent}><title>{escape(title)}</title></rect>')
    return _svg("Completeness by day", [*parts, *_dates(quality.days, len(rows))], len(rows))


def faults_by_day(quality: Quality) -> str:
    """A row of bars per fault, each against the fault's own worst day; nothing for a single day."""
    if len(quality.days) < 2 or not quality.faults_by_day:
        return ""
    columns = _columns(len(quality.days))
    size = (_WIDTH - _LABEL - 90) / columns
    parts = []
    for at, (fault, steps) in enumerate(quality.faults_by_day.items()):
        summed = [sum(part) for part in _buckets(steps)]
        most, bottom = max(summed), (at + 1) * _ROW - 2
        bars = "".join(
            f"M{_LABEL + place * size:.1f} {bottom}v-{max((_ROW - 5) * count / most, 1):.1f}"
            f"h{max(size - 0.5, 0.5):.1f}v{max((_ROW - 5) * count / most, 1):.1f}z"
            for place, count in enumerate(summed)
            if count
        )
        worst = f'<text class="soft" x="{_WIDTH}" y="{bottom - 4}" text-anchor="end">max {fixed(most, 0)}</text>'
        parts += [_label(spoken_fault(fault), at), f'<path class="bars" d="{bars}"/>', worst]
    rows = len(quality.faults_by_day)
    return _svg("Faults by day, in steps", [*parts, *_dates(quality.days, rows, 90)], rows)


def offsets(clocks: Clocks) -> str:
    """How many entities are off by how much, on a scale of roots, so that single ones are seen beside thousands."""
    if clocks.judged < 2:
        return ""
    height, most = 130, max(clocks.counts)
    size = _WIDTH / len(clocks.counts)
    parts = [
        f'<rect class="bars" x="{at * size + 0.5:.1f}" y="{height * (1 - (count / most) ** 0.5):.1f}" '
        f'width="{size - 1:.1f}" height="{height * (count / most) ** 0.5:.1f}">'
        f"<title>{fixed(low, 0)} to {fixed(high, 0)} s: {fixed(count, 0)}</title></rect>"
        for at, (count, low, high) in enumerate(
            zip(clocks.counts, clocks.edges_s[:-1], clocks.edges_s[1:], strict=True)
        )
        if count
    ]
    ends = ((0, "start", clocks.edges_s[0]), (_WIDTH / 2, "middle", 0.0), (_WIDTH, "end", clocks.edges_s[-1]))
    parts += [f'<line class="axis" x1="0" x2="{_WIDTH}" y1="{height}" y2="{height}"/>']
    parts += [
        f'<text class="soft" x="{x:.0f}" y="{height + 18}" text-anchor="{anchor}">{_signed(seconds)} s</text>'
        for x, anchor, seconds in ends
    ]
    return _frame("Entities by clock offset", parts, height + _AXIS)


def shade(share: float | None) -> int:
    """Which shade a share has: 0 for nothing expected, then from the palest."""
    if share is None:
        return 0
    return 1 + sum(share >= bound for bound in SHADES)


def _columns(days: int) -> int:
    return -(-days // (-(-days // _COLUMNS)))


def _buckets(values: Sequence[int]) -> Iterator[Sequence[int]]:
    each = -(-len(values) // _COLUMNS)
    return (values[at : at + each] for at in range(0, len(values), each))


def _columned(by_day: Sequence[float | None]) -> list[float | None]:
    """The worst day of each column: a mean would hide it."""
    each = -(-len(by_day) // _COLUMNS)
    parts = (by_day[at : at + each] for at in range(0, len(by_day), each))
    return [min((share for share in part if share is not None), default=None) for part in parts]


def _runs(
    columns: Sequence[float | None], days: Sequence[date], by_day: Sequence[float | None]
) -> Iterator[tuple[int, int, int, str]]:
    """Columns of one shade that follow each other: first, end, shade, and what they say."""
    each = -(-len(days) // _COLUMNS)
    for of, group in groupby(enumerate(columns), key=lambda column: shade(column[1])):
        places = [at for at, _ in group]
        first, end = places[0], places[-1] + 1
        mine = [share for share in by_day[first * each : end * each] if share is not None]
        if mine:
            last = days[min(end * each, len(days)) - 1]
            when = f"{days[first * each]}" if days[first * each] == last else f"{days[first * each]} to {last}"
            low, high = percent(min(mine)), percent(max(mine))
            yield first, end, of, f"{when}: {low if low == high else f'{low} to {high}'}"


def _label(text: str, row: int) -> str:
    return f'<text x="{_LABEL - 10}" y="{row * _ROW + 15}" text-anchor="end">{escape(text)}</text>'


def _dates(days: Sequence[date], rows: int, right: int = 0) -> Iterator[str]:
    """First, middle and last day under the columns."""
    y = rows * _ROW + 16
    width = _WIDTH - _LABEL - right
    for share, anchor, day in ((0.0, "start", days[0]), (0.5, "middle", days[len(days) // 2]), (1.0, "end", days[-1])):
        if anchor != "middle" or len(days) > 4:
            yield f'<text class="soft" x="{_LABEL + share * width:.0f}" y="{y}" text-anchor="{anchor}">{day}</text>'


def _svg(label: str, parts: Sequence[str], rows: int) -> str:
    return _frame(label, parts, rows * _ROW + _AXIS)


def _frame(label: str, parts: Sequence[str], height: float) -> str:
    box = f'viewBox="0 0 {_WIDTH} {height:.0f}"'
    return f'<svg role="img" aria-label="{escape(label)}" {box}>{"".join(parts)}</svg>'


def _signed(seconds: float) -> str:
    return f"+{fixed(seconds, 0)}" if seconds > 0 else fixed(seconds, 0)
