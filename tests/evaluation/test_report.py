"""The report page: complete, self-contained, escaped, the same every time, and calm about missing data."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import polars as pl
import pytest
from pages import Page

from forecast.evaluation.plots import central_bands, fan_chart_svg, save_fan_chart_png
from forecast.evaluation.report import HEADROOM_ROWS, FanChart, Report, write_report

LEVELS = (0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99)
OBSERVED = (0.02, 0.14, 0.3, 0.5, 0.7, 0.86, 0.98)
ISSUED = datetime(2026, 3, 4, 14, tzinfo=UTC)
HOSTILE = '<script>alert("$x^$")</script>'


def fan(entity_id: str = "rack-07", limit: float = 42e3) -> FanChart:
    steps = np.arange(24.0)
    spread = np.linspace(-6e3, 6e3, len(LEVELS))[:, None]
    return FanChart(
        entity_id=entity_id,
        level="rack",
        signal="power_w",
        unit="W",
        history_time=[ISSUED - timedelta(hours=24 - hour) for hour in range(24)],
        history=np.where(steps == 5, np.nan, 30e3 + 100 * steps),
        valid_time=[ISSUED + timedelta(hours=hour) for hour in range(24)],
        quantiles=31e3 + spread * np.sqrt(steps + 1) / 5,
        observed=np.where(steps > 12, np.nan, 31e3),
        limit=limit,
    )


def scores() -> pl.DataFrame:
    rows = [
        ("power_w", "rack", "fleetcast", 0.0801, 1234.0, 0.712, 0.803, 0.981, 168),
        ("power_w", "rack", "persistence", 0.1202, 1650.0, 0.993, 0.771, 0.962, 168),
        ("power_w", "site", "fleetcast", 0.0603, 91000.0, 0.654, 0.792, 0.975, 168),
        ("power_w", "site", "persistence", 0.0504, 99000.0, 0.645, 0.825, 0.986, 168),
        ("temperature_c", "rack", "fleetcast", 0.0205, 1.58, 0.571, 0.746, 0.937, 168),
        ("temperature_c", "rack", "seasonal_naive_24h", 0.0306, 2.19, 0.832, float("nan"), None, 168),
    ]
    names = ["target", "level", "method", "wql", "mae", "mase", "coverage_80", "coverage_98", "windows"]
    return pl.DataFrame(rows, schema=names, orient="row")


def headroom(count: int = 3) -> pl.DataFrame:
    rows = [("rack-07", "rack", "power_w", "W", -1500.0 + 2000 * row, 0.99, ISSUED) for row in range(count)]
    names = ["entity_id", "level", "target", "unit", "headroom", "confidence", "until"]
    return pl.DataFrame(rows, schema=names, orient="row")


@pytest.fixture
def report() -> Report:
    return Report(
        title="day-ahead",
        facts={"Bundle": "3f9a1c0e", "Training range": "2025-09-01 to 2026-02-28"},
        quantile_levels=LEVELS,
        scores=scores(),
        calibration=pl.DataFrame(
            {"target": "power_w", "nominal": LEVELS, "observed": (0.02, 0.14, 0.3, 0.5, 0.7, 0.86, 0.98)}
        ),
        horizon=pl.DataFrame({"target": "power_w", "method": "fleetcast", "lead_h": [1.0, 2.0], "wql": [0.05, 0.08]}),
        headroom=headroom(),
        charts=[fan(), fan("rack-08", limit=float("nan"))],
    )


def verdict(champion: str | None, **rules: bool) -> dict[str, object]:
    """A verdict with a row of the WQL for each rule, and whether it holds."""
    figures = {"champion": 0.08, "challenger": 0.076, "value": 0.95, "lower": 0.93, "upper": 0.97, "limit": 1.05}
    where = {"segment": "all", "target": "power_w", "metric": "wql"}
    rows = [{"rule": rule, "passed": passed, **where, **figures} for rule, passed in rules.items()]
    return {"passed": all(rules.values()), "reason": f"because of {HOSTILE}", "champion": champion, "rows": rows}


def html(report: Report, folder: Path) -> str:
    return write_report(report, folder / "report.html").read_text(encoding="utf-8")


def test_every_score_and_fact_is_on_the_page(report: Report, tmp_path: Path) -> None:
    page = Page(html(report, tmp_path))
    for row in report.scores.iter_rows(named=True):
        assert f"{row['wql']:.4f}" in page.text
        assert f"{row['mase']:.3f}" in page.text
        assert f"{100 * row['coverage_80']:.1f} %" in page.text or np.isnan(row["coverage_80"])
    for text in ("1.23 kW", "91.0 kW", "2.19 °C", "−1.50 kW", *report.facts, *report.facts.values()):
        assert text in page.text


def test_the_best_of_each_group_is_bold_and_ours_is_marked(report: Report, tmp_path: Path) -> None:
    rows = [attrs["class"].split() for attrs in Page(html(report, tmp_path)).named("tr") if "class" in attrs]
    assert rows == [["ours", "best"], [], ["ours"], ["best"], ["ours", "best"], []]


def test_the_summary_says_what_the_numbers_mean(report: Report, tmp_path: Path) -> None:
    text = Page(html(report, tmp_path)).text
    assert "Load: weighted quantile loss 17.7 % below the best baseline, persistence, as a mean over 2 levels" in text
    assert "a baseline is better at site." in text
    assert "Temperature: weighted quantile loss 33.0 % below the best baseline, seasonal naive (day)." in text
    assert "the 80 % interval held 72.0 % of outcomes, 8.0 points too narrow" in text
    assert "Tightest: rack-07 has −1.50 kW of load headroom at 99 % confidence" in text


def test_the_page_fetches_nothing(report: Report, tmp_path: Path) -> None:
    page = Page(html(report, tmp_path))
    for tag, attrs in page.tags:
        assert tag not in {"script", "link", "iframe", "img"}
        for name, value in attrs.items():
            if name in {"src", "href", "xlink:href"}:
                assert str(value).startswith("#")
    assert "@import" not in html(report, tmp_path)
    assert not re.search(r"url\((?!#)", html(report, tmp_path))


def test_hostile_names_stay_text(report: Report, tmp_path: Path) -> None:
    hostile = replace(
        report,
        title=HOSTILE,
        facts={HOSTILE: HOSTILE},
        charts=[fan(HOSTILE), replace(fan(HOSTILE), quantiles=np.full((7, 24), np.nan))],
        headroom=headroom().with_columns(entity_id=pl.lit(HOSTILE)),
    )
    page = Page(html(hostile, tmp_path))
    assert not page.named("script")
    assert HOSTILE in page.text


def test_the_same_report_gives_the_same_bytes(report: Report, tmp_path: Path) -> None:
    assert html(report, tmp_path / "a") == html(report, tmp_path / "b")


def test_ids_are_unique_and_headings_in_order(report: Report, tmp_path: Path) -> None:
    page = Page(html(report, tmp_path))
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert [tag for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)] == ["h1", *["h2"] * 6]


def test_tables_and_charts_speak_to_screen_readers(report: Report, tmp_path: Path) -> None:
    page = Page(html(report, tmp_path))
    assert len(page.named("caption")) == len(page.named("table")) == 2
    assert all("scope" in attrs for attrs in page.named("th"))
    assert len(page.named("figcaption")) == len(page.named("svg")) == 4
    assert all(attrs["role"] == "img" and attrs["aria-label"] for attrs in page.named("svg"))


def test_a_report_without_data_says_so(tmp_path: Path) -> None:
    empty = pl.DataFrame()
    text = Page(html(Report("empty", {}, LEVELS, empty, empty, empty, empty, []), tmp_path)).text
    for line in ("No scores", "No calibration", "by lead time", "No forecasts", "No headroom", "No facts"):
        assert line in text


def test_unknown_numbers_are_shown_as_such(report: Report, tmp_path: Path) -> None:
    floats = pl.selectors.float()
    unknown = replace(
        report,
        scores=report.scores.with_columns(floats * float("nan")),
        calibration=report.calibration.with_columns(pl.lit(None).alias("observed")),
        horizon=report.horizon.with_columns(floats * float("nan")),
        headroom=report.headroom.with_columns(pl.lit(None).alias(name) for name in ("headroom", "confidence", "until")),
        charts=[
            replace(fan(), quantiles=np.full((7, 24), np.nan)),
            replace(fan(), quantiles=np.empty((0, 0))),
        ],
    )
    text = Page(html(unknown, tmp_path)).text
    assert "nan" not in text
    assert "None" not in text
    assert text.count("No forecast of load for rack-07") == 2


def test_a_long_headroom_table_is_cut(report: Report, tmp_path: Path) -> None:
    text = Page(html(replace(report, headroom=headroom(HEADROOM_ROWS + 4)), tmp_path)).text
    assert "4 more with more room are not shown" in text


@pytest.mark.parametrize("limit", [30e3, 42e3, 9e9, float("nan")])
def test_a_fan_chart_is_well_formed_and_themed(limit: float) -> None:
    svg = fan_chart_svg(fan("a & <b>", limit), LEVELS)
    root = ElementTree.fromstring(svg)  # noqa: S314  our own output
    assert "a & <b>" in root.attrib["aria-label"]
    assert "var(--chart-forecast, #0072b2)" in svg
    assert ("limit" in "".join(root.itertext())) == np.isfinite(limit)


def test_a_fan_chart_without_any_history_is_drawn() -> None:
    bare = replace(fan(), history_time=[], history=np.empty(0), observed=np.full(24, np.nan))
    ElementTree.fromstring(fan_chart_svg(bare, LEVELS))  # noqa: S314  our own output


def test_bands_are_the_nearest_the_levels_offer() -> None:
    assert central_bands(LEVELS) == {0.98: (0, 6), 0.8: (1, 5), 0.5: (2, 4)}
    assert list(central_bands([0.1, 0.2, 0.5, 0.8, 0.9])) == [0.8, 0.6]
    assert central_bands([0.5]) == {}


def test_the_picture_is_crisp(tmp_path: Path) -> None:
    png = save_fan_chart_png([fan("$rack$"), fan()], tmp_path / "fan.png", LEVELS).read_bytes()
    assert png.startswith(b"\x89PNG")
    assert int.from_bytes(png[16:20]) == 1600


def test_the_probability_of_passing_a_limit_is_shown_beside_climatology(report: Report, tmp_path: Path) -> None:
    rows = {"forecast": [0.05, 0.4], "observed": [0.04, 0.5], "count": [900, 20]}
    scores = {"brier": 0.0123, "climatology": 0.0456, "skill": 0.73}
    exceedance = pl.DataFrame({"target": "power_w", **rows, **scores})
    assert "Passing the limit" not in html(report, tmp_path)
    page = html(replace(report, exceedance=exceedance), tmp_path)
    for text in ("Passing the limit", "0.0123", "0.0456", "73.0 %", "5.0 % told 4.0 % of 900"):
        assert text in page


def test_the_verdict_is_told_with_its_reason_and_what_decided_it_ahead_of_the_rest(
    report: Report, tmp_path: Path
) -> None:
    said = verdict(HOSTILE, overall=True, segment=False, brier=True)
    written = html(replace(report, verdict=said), tmp_path)
    page = Page(written)
    assert "✗ Rejected" in page.text
    assert f"because of {HOSTILE}" in page.text
    assert "1 more rules" not in page.text
    assert "1 more rule, kept" in page.text
    assert written.index("✓ kept") < written.index("✗ broken") < written.index("<details>")
    assert page.text.count("0.0760") == 3
    assert "✓ Passed" in Page(html(replace(report, verdict=verdict(None, overall=True)), tmp_path)).text


def test_what_was_not_judged_has_no_verdict(report: Report, tmp_path: Path) -> None:
    assert "Gate" not in Page(html(report, tmp_path)).text


def test_the_champion_is_drawn_over_the_fan_on_the_same_axes(report: Report, tmp_path: Path) -> None:
    alone = fan()
    assert alone.champion is None
    beside = replace(alone, champion=alone.quantiles + 8e3)
    lines = [fan_chart_svg(chart, LEVELS).count("--chart-third") for chart in (alone, beside)]
    assert lines == [0, 3], "its median and both ends of its widest interval"
    assert "champion" in Page(html(replace(report, charts=[beside]), tmp_path)).text
    assert "champion" not in Page(html(report, tmp_path)).text
