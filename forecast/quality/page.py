"""A report as one HTML file that fetches nothing."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from forecast.quality import charts
from forecast.quality.quality import Quality
from forecast.quality.words import facts, headline, judged_mark, reasons, sections


def page(quality: Quality) -> str:
    """The page; the same report gives the same text, and every name in it is escaped."""
    environment = Environment(
        loader=FileSystemLoader([Path(__file__).parent, Path(__file__).parents[1]]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    drawn = {
        "completeness": charts.completeness(quality),
        "faults": charts.faults_by_day(quality),
        "clocks": charts.offsets(quality.clocks),
    }
    return environment.get_template("page.html.j2").render(
        title=quality.where,
        fit=quality.fit,
        headline=headline(quality),
        reasons=reasons(quality),
        facts=facts(quality),
        sections=sections(quality),
        charts={name: Markup(svg) for name, svg in drawn.items() if svg},  # noqa: S704  our own markup, escaped
        marks=[judged_mark(rule) for rule in quality.verdict],
        colours=charts.COLOURS,
    )
