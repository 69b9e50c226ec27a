"""The gate's operating figures: two hundred simulated retrainings each, from recorded losses."""

import numpy as np
import pytest

from benchmarks.gate.__main__ import judged, promoted
from benchmarks.gate.losses import RECORDS, Losses
from forecast.evaluation.paired import CHALLENGER, CHAMPION
from forecast.evaluation.splits import EvaluationConfig

RETRAININGS = 200


#: Days of test that each site needs (docs/deploy.md).
NEEDED = [("simulated", 7), ("google_pdu", 7), ("biohpc", 14)]


@pytest.fixture(scope="module")
def losses() -> Losses:
    return Losses.read("simulated")


@pytest.mark.parametrize(("name", "days"), NEEDED)
def test_one_that_is_truly_3_percent_worse_is_promoted_in_5_percent_of_cases_at_most(name: str, days: int) -> None:
    assert promoted(judged(Losses.read(name), days, 1.03, RETRAININGS)) <= 0.05


@pytest.mark.parametrize(("name", "days"), NEEDED)
def test_one_that_is_truly_5_percent_better_is_promoted_in_80_percent_of_cases_at_least(name: str, days: int) -> None:
    assert promoted(judged(Losses.read(name), days, 0.95, RETRAININGS)) >= 0.8


def test_a_test_range_is_a_week_unless_it_is_set() -> None:
    """Three days hold back every third version that is 5 % better."""
    assert EvaluationConfig().test_h == 7 * 24


@pytest.mark.parametrize("name", RECORDS)
def test_a_drawn_challenger_is_as_good_as_was_asked(name: str) -> None:
    """Over all days at once its ratio is exact."""
    record = Losses.read(name)
    sums = record.retraining(np.random.default_rng(0), record.days, 0.95)
    level = sums.topology.table["level"].to_numpy()
    days = record.own["loss"].shape[2]
    assert sums.days == days
    total = sums.loss.sum(axis=1)
    ratios = [
        total[CHALLENGER, level == each].sum(axis=0) / total[CHAMPION, level == each].sum(axis=0)
        for each in sums.topology.levels
    ]
    assert np.exp(np.log(ratios).mean()) == pytest.approx(0.95, rel=0.01), "but for the last day, which issues nothing"


def test_a_drawn_test_range_tells_each_outcome_once(losses: Losses) -> None:
    sums = losses.retraining(np.random.default_rng(0), 7, None)
    count = sums.count[:, 0, 0]
    assert count.argmax() not in (0, 6), "the ends are seen from one side only"
    assert np.ptp(count[1:-1]) < 0.1 * count.max()
    assert count[0] + count[-1] == pytest.approx(count[3], rel=0.1)
