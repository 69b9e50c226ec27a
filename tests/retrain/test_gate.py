"""The verdict on a bundle: beside the champion, and beside the baselines."""

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecast.contracts.topology import Topology
from forecast.evaluation.paired import CHALLENGER, Paired
from forecast.retrain.gate import BETTER, Row, against_baselines, compare, segments, verdict_on
from forecast.retrain.rival import Rival

LEVELS = ("server", "server", "rack", "rack", "site")
SKUS = ("a", "b", "a", "b", "mixed")
SCALE = np.array([1.0, 2.0, 30.0, 40.0, 1e6])


def topology() -> Topology:
    columns = {"entity_id": [f"{at}" for at in range(5)], "level": LEVELS, "sku": SKUS, "site": ["s"] * 5}
    table = pl.DataFrame({**columns, "time_zone": ["UTC"] * 5}).with_columns(
        parent_id=pl.lit(None, pl.String),
        power_limit_w=pl.lit(None, pl.Float64),
        temperature_limit_c=pl.lit(None, pl.Float64),
    )
    return Topology.of(table)


def paired(ratio: float = 1.0, days: int = 7, noise: float = 0.01, seed: int = 0) -> Paired:
    """Losses of a site whose megawatts dwarf its servers; the challenger's are `ratio` times the champion's."""
    random = np.random.default_rng(seed)
    usual = SCALE[:, None] * random.uniform(0.5, 1.5, (days, 5, 2))
    loss = np.stack([usual, ratio * usual * np.exp(random.normal(0, noise, (days, 5, 2)))])
    full = np.full((days, 5, 2), 100.0)
    inside, squares = np.full((2, days, 5, 2), 90.0), np.full((2, days, 5, 2), 1.0)
    return Paired(("power_w", "temperature_c"), topology(), loss, full * SCALE[:, None], full, inside, squares, full)


def broken(rows: list[Row]) -> set[str]:
    return {f"{row.rule} {row.segment} {row.target}" for row in rows if not row.passed}


def changed(sums: Paired, name: str, entities: list[int], factor: float) -> Paired:
    """The challenger's sums of some entities, times a factor."""
    values = getattr(sums, name).copy()
    values[CHALLENGER][:, entities] *= factor
    return replace(sums, **{name: values})


def test_a_better_one_passes_every_rule_and_its_ratio_is_told() -> None:
    rows = compare(paired(0.9), BETTER)
    assert not broken(rows)
    assert rows[0].rule == "overall"
    assert rows[0].value == pytest.approx(0.9, abs=0.01)
    assert rows[0].lower < rows[0].value < rows[0].upper < 1


@pytest.mark.parametrize("ratio", [1.03, 1.0])
def test_one_that_is_no_better_fails_on_the_whole(ratio: float) -> None:
    assert broken(compare(paired(ratio, seed=3), BETTER)) == {"overall all all"}


def test_an_old_champion_gives_way_to_one_as_good() -> None:
    assert not broken(compare(paired(1.0, noise=0.005), 1.02))


def test_the_megawatts_of_the_site_do_not_outvote_the_servers() -> None:
    """Its loss is all but all of the sum; it is one of three levels all the same."""
    rows = compare(changed(paired(1.0, noise=0.0), "loss", [4], 0.7), BETTER)
    assert rows[0].value == pytest.approx(0.7 ** (1 / 3), rel=1e-6)


def test_a_segment_that_is_much_worse_rejects_however_good_the_rest() -> None:
    rows = compare(changed(paired(0.8), "loss", [1, 3], 1.4), BETTER)
    assert broken(rows) == {"segment sku b power_w", "segment sku b temperature_c"}


def test_a_segment_that_is_a_little_worse_does_not() -> None:
    assert not broken(compare(changed(paired(0.9), "loss", [1, 3], 1.03 / 0.9), BETTER))


def test_a_coverage_far_off_and_farther_than_the_champions_rejects() -> None:
    off = changed(paired(0.9), "inside", [0, 1, 2, 3, 4], 0.8)
    assert broken(compare(off, BETTER)) == {"coverage all power_w", "coverage all temperature_c"}
    alike = replace(off, inside=np.stack([off.inside[CHALLENGER]] * 2))
    assert not broken(compare(alike, BETTER)), "refusing it would keep one in service that is no nearer"
    near = changed(paired(0.9), "inside", [0, 1, 2, 3, 4], 0.97)
    assert not broken(compare(near, BETTER))


def test_probabilities_that_are_worse_reject() -> None:
    worse = changed(paired(0.9), "squares", [0, 1, 2, 3, 4], 1.1)
    assert broken(compare(worse, BETTER)) == {"brier all power_w", "brier all temperature_c"}


def test_where_no_limit_is_near_a_surely_tiny_difference_does_not() -> None:
    sums = paired(0.9)
    far = replace(sums, squares=sums.squares * 1e-3)  # Brier scores of 1e-5
    assert not broken(compare(changed(far, "squares", [0, 1, 2, 3, 4], 1.5), BETTER))


def test_probabilities_that_are_worse_by_next_to_nothing_do_not() -> None:
    rare = replace(paired(0.9), squares=paired().squares * 1e-3)
    assert not broken(compare(changed(rare, "squares", [0, 1, 2, 3, 4], 1.5), BETTER))


def test_one_day_is_too_few_to_promote_on() -> None:
    rows = compare(paired(0.5, days=1), BETTER)
    assert rows[0].value == pytest.approx(0.5, abs=0.05)
    assert broken(rows) == {"overall all all"}


def test_what_is_not_a_number_never_passes() -> None:
    assert "overall all all" in broken(compare(changed(paired(0.9), "loss", [0], float("nan")), BETTER))


@settings(max_examples=25)
@given(st.integers(0, 2**31), st.floats(0.5, 1.5))
def test_swapping_the_two_inverts_the_ratio(seed: int, ratio: float) -> None:
    sums = paired(ratio, seed=seed, noise=0.05)
    swapped = replace(sums, loss=sums.loss[::-1])
    one, other = (compare(each, BETTER)[0] for each in (sums, swapped))
    assert one.value * other.value == pytest.approx(1)
    assert one.lower * other.upper == pytest.approx(1)


def test_a_segment_is_asked_once_under_its_first_name() -> None:
    names = [part.name for part in segments(topology())]
    assert names == ["all", "level server", "level rack", "level site", "sku a", "sku b"], (
        "neither sku mixed nor site s"
    )


def test_a_verdict_is_plain_data_with_its_reason_in_one_line() -> None:
    rows = compare(changed(paired(0.9), "loss", [0], float("nan")), BETTER)
    verdict = json.loads(json.dumps(verdict_on(rows, Rival(why="nothing is in service yet")), allow_nan=False))
    assert verdict.keys() == {"passed", "reason", "champion", "rows"}
    assert not verdict["passed"]
    assert verdict["reason"].endswith("nothing is in service yet")
    assert "\n" not in verdict["reason"]
    assert len(verdict["rows"]) == len(rows)


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


def test_one_segment_behind_its_baseline_rejects_however_good_the_rest() -> None:
    rows = [
        ("power_w", level, method, wql)
        for level in ("server", "rack")
        for method, wql in (("fleetcast", 0.2), ("persistence", 1.0))
    ]
    judged = against_baselines(
        scores(*rows, ("temperature_c", "site", "fleetcast", 1.2), ("temperature_c", "site", "persistence", 1.0))
    )
    assert judged[0].passed
    assert broken(judged) == {"segment level site temperature_c"}


def test_a_score_that_is_not_a_number_never_passes() -> None:
    judged = against_baselines(
        scores(("power_w", "rack", "fleetcast", float("nan")), ("power_w", "rack", "persistence", 1.0))
    )
    assert not any(row.passed for row in judged)
