"""The verdict on a bundle."""

import polars as pl

from forecast.retrain.gate import against_baselines


def scores(*rows: tuple[str, str, str, float]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=["target", "level", "method", "wql"], orient="row")


def test_better_than_every_baseline_passes() -> None:
    overall, segment = against_baselines(
        scores(("power_w", "rack", "fleetcast", 0.8), ("power_w", "rack", "persistence", 1.0))
    )
    assert overall.passed
    assert segment.passed
    assert segment.value == 0.8


def test_the_best_baseline_of_each_segment_is_the_rival() -> None:
    overall, segment = against_baselines(
        scores(
            ("power_w", "rack", "fleetcast", 0.9),
            ("power_w", "rack", "persistence", 1.0),
            ("power_w", "rack", "seasonal_naive_24h", 0.85),
        )
    )
    assert not overall.passed
    assert segment.champion == 0.85


def test_one_bad_segment_rejects_however_good_the_rest() -> None:
    rows = [
        ("power_w", level, method, wql)
        for level in ("server", "rack")
        for method, wql in (("fleetcast", 0.2), ("persistence", 1.0))
    ]
    judged = against_baselines(
        scores(*rows, ("temperature_c", "site", "fleetcast", 1.2), ("temperature_c", "site", "persistence", 1.0))
    )
    assert judged[0].passed
    assert [(row.target, row.segment) for row in judged if not row.passed] == [("temperature_c", "level site")]


def test_a_score_that_is_not_a_number_never_passes() -> None:
    judged = against_baselines(
        scores(("power_w", "rack", "fleetcast", float("nan")), ("power_w", "rack", "persistence", 1.0))
    )
    assert not any(row.passed for row in judged)
