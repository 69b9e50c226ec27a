"""A verdict in words: what decided comes first, and a verdict of another version is no error."""

import math

import pytest

from forecast.evaluation.verdict_table import verdict_row, verdict_table


def row(**changed: object) -> dict[str, object]:
    usual = {"rule": "segment", "segment": "level rack", "target": "power_w", "metric": "wql", "passed": True}
    figures = {"champion": 0.08, "challenger": 0.1, "value": 1.25, "lower": 1.0, "upper": 1.5, "limit": 1.05}
    return {**usual, **figures, **changed}


def test_what_decided_comes_first() -> None:
    rows = [row(), row(rule="brier", metric="brier", passed=False), row(rule="overall", target="all", segment="all")]
    table = verdict_table({"rows": rows})
    assert [each.rule for each in table.first] == ["WQL, on the whole", "Brier score, load, level rack"]
    assert [each.rule for each in table.rest] == ["WQL, load, level rack"]


def test_a_ratio_is_told_as_a_change_and_drawn_between_better_and_worse() -> None:
    told = verdict_row(row())
    assert (told.champion, told.challenger, told.change) == ("0.0800", "0.1000", "+25.0 %")
    assert told.bounds == "0.0 % to +50.0 %"
    assert told.limit == "+5.0 %"
    assert told.strip == (0.5, 1.0, 1.0), "equal is in the middle, and nothing leaves the strip"
    equal = verdict_row(row(lower=1 / 1.25, value=1.0, upper=1.0))
    assert equal.strip == pytest.approx((0.0, 0.5, 0.5))


def test_a_coverage_is_told_by_its_distance_from_nominal() -> None:
    told = verdict_row(row(metric="coverage_90", champion=0.88, challenger=0.85, value=-0.05, limit=0.03))
    assert (told.champion, told.challenger, told.change, told.limit) == (
        "88.0 %",
        "85.0 %",
        "−5.0 points",
        "±3.0 points",
    )


def test_what_has_no_bounds_has_neither_words_nor_strip_for_them() -> None:
    told = verdict_row(row(metric="size_mb", rule="budget", champion=None, value=2.5, challenger=2.5, limit=64.0))
    assert (told.champion, told.challenger, told.change, told.bounds, told.limit) == ("–", "2.5 MB", "", "", "64.0 MB")
    assert verdict_row(row(lower=None, upper=None)).strip is None
    assert verdict_row(row(value=math.nan, lower=None, upper=None)).change == "–"


COVERAGE = {"rule": "coverage", "metric": "coverage_90", "champion": 0.9, "challenger": 0.86, "limit": 0.03}


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"value": 1.0504, "lower": 1.0204, "upper": 1.08}, ("+5.04 %", "+2.04 % to +8.00 %", "+5.00 %")),
        ({"value": 1.0500002, "lower": 1.02, "upper": 1.08}, ("+5.00002 %", "+2.00000 % to +8.00000 %", "+5.00000 %")),
        ({"value": 1.06, "lower": 1.02, "upper": 1.08}, ("+6.0 %", "+2.0 % to +8.0 %", "+5.0 %")),
        ({"value": 1.0504, "passed": True}, ("+5.0 %", "0.0 % to +50.0 %", "+5.0 %")),
        (
            {"rule": "overall", "value": 0.98, "lower": 0.96, "upper": 1.0003, "limit": 1.0},
            ("−2.00 %", "−4.00 % to +0.03 %", "0.00 %"),
        ),
        ({"rule": "overall", "value": 1.0, "lower": None, "upper": None, "limit": 1.0}, ("0.0 %", "", "0.0 %")),
        (
            {**COVERAGE, "value": -0.04, "lower": -0.05, "upper": -0.0302},
            ("−4.00 points", "−5.00 points to −3.02 points", "±3.00 points"),
        ),
        ({"rule": "budget", "metric": "size_mb", "value": 64.02, "limit": 64.0}, ("", "", "64.00 MB")),
    ],
)
def test_a_figure_that_failed_is_told_apart_from_its_limit(
    changed: dict[str, object], told: tuple[str, str, str]
) -> None:
    found = verdict_row(row(**{"passed": False, "challenger": changed["value"], **changed}))
    assert (found.change, found.bounds, found.limit) == told
    if changed.get("rule") == "budget":
        assert found.challenger == "64.02 MB"


@pytest.mark.parametrize("verdict", [{}, {"passed": True, "reason": "better"}, {"rows": [{"ratio": 0.9}]}])
def test_a_verdict_of_another_version_has_no_rows(verdict: dict[str, object]) -> None:
    table = verdict_table(verdict)
    assert (table.first, table.rest) == ([], [])
