"""The verdict on a bundle."""

import polars as pl

from forecast.retrain.gate import judge


def scores(*rows: tuple[str, str, str, float]) -> pl.DataFrame:
    table = pl.DataFrame(rows, schema=["target", "level", "method", "wql"], orient="row")
    return table.with_columns(coverage_80=0.7)


def test_better_everywhere_passes() -> None:
    verdict = judge(scores(("power_w", "rack", "fleetcast", 0.8), ("power_w", "rack", "persistence", 1.0)))
    assert verdict["passed"]
    assert verdict["segments"][0]["ratio"] == 0.8
    assert "80 % intervals cover 70 %" in verdict["reason"]


def test_the_best_baseline_of_each_segment_is_the_rival() -> None:
    verdict = judge(
        scores(
            ("power_w", "rack", "fleetcast", 0.9),
            ("power_w", "rack", "persistence", 1.0),
            ("power_w", "rack", "seasonal_naive_24h", 0.85),
        )
    )
    assert not verdict["passed"]
    assert verdict["segments"][0]["best_baseline"] == "seasonal_naive_24h"


def test_one_bad_segment_rejects_however_good_the_rest_and_is_named() -> None:
    rows = [
        ("power_w", level, method, wql)
        for level in ("server", "rack")
        for method, wql in (("fleetcast", 0.2), ("persistence", 1.0))
    ]
    verdict = judge(
        scores(*rows, ("temperature_c", "site", "fleetcast", 1.2), ("temperature_c", "site", "persistence", 1.0))
    )
    assert not verdict["passed"]
    assert "temperature_c of site" in verdict["reason"]


def test_a_score_that_is_not_a_number_never_passes() -> None:
    verdict = judge(scores(("power_w", "rack", "fleetcast", float("nan")), ("power_w", "rack", "persistence", 1.0)))
    assert not verdict["passed"]
