"""One look for all charts, and SVG that sits inside a page: themed by CSS, the same bytes for the same data."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from typing import Any

import matplotlib as mpl
import matplotlib.dates  # lets times be coordinates
from matplotlib.figure import Figure

#: Okabe and Ito's colour-blind-safe hues, and greys. In a page each is the CSS variable `--chart-<name>`.
COLOURS = {
    "ink": "#1f2328",
    "muted": "#5f6b7a",
    "grid": "#dfe3e8",
    "forecast": "#0072b2",
    "limit": "#d55e00",
    "second": "#009e73",
    "third": "#cc79a7",
}

_STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": COLOURS["muted"],
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.labelcolor": COLOURS["muted"],
    "axes.linewidth": 0.7,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "date.converter": "concise",
    "font.family": ["DejaVu Sans"],
    "font.size": 9.0,
    "grid.color": COLOURS["grid"],
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "legend.labelcolor": COLOURS["ink"],
    "svg.fonttype": "none",
    "text.color": COLOURS["ink"],
    "text.parse_math": False,  # an entity may be called "$x$"
    "timezone": "UTC",
    "xtick.color": COLOURS["muted"],
    "xtick.major.size": 3.0,
    "ytick.color": COLOURS["muted"],
    "ytick.major.size": 0.0,
}


@contextmanager
def chart(width_in: float, height_in: float, name: str) -> Iterator[Figure]:
    """Yield an empty figure in the house style; draw and save it inside the block.

    Args:
        width_in, height_in: size in inches; 72 units of the SVG each.
        name: unique on its page, so that the ids inside the SVG are too.
    """
    with mpl.rc_context({**_STYLE, "svg.hashsalt": name}):
        yield Figure(figsize=(width_in, height_in), layout="constrained")


def to_svg(figure: Figure, label: str) -> str:
    """Render `figure` as one `<svg>` element, transparent, its colours themed, `label` read out in its place."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    svg = text[text.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' id="[\w.]+_\d+"', "", svg)  # matplotlib's names repeat in every chart of a page
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = _themed(re.sub(r' d="[^"]*"', _shortened, svg))
    return svg.replace("<svg", f'<svg role="img" aria-label="{escape(label)}"', 1)


def _shortened(path: re.Match[str]) -> str:
    """Cut coordinates to 1/100 of a point; the page is half the size and looks the same."""
    return re.sub(r"(\.\d\d)\d+", r"\1", path.group())


def _themed(svg: str) -> str:
    for name, colour in COLOURS.items():
        svg = svg.replace(colour, f"var(--chart-{name}, {colour})")
    return svg.replace("'DejaVu Sans'", "system-ui, 'DejaVu Sans', sans-serif")
