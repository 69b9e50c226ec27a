"""Schedules that training hides or falsifies."""

import torch

from forecast.contracts.specs import FUTURE, ForecastSpec
from forecast.training.doubt import Doubt

SPEC = ForecastSpec(
    3600,
    24,
    12,
    ("power_w",),
    ("power_w",),
    (0.1, 0.5, 0.9),
    ("day_sin", "outdoor_c", "scheduled_power_w", "maintenance"),
)
SCHEDULE = [index for index, name in enumerate(SPEC.future) if FUTURE[name].source == "schedule"]


def told(untold: float, mistold: float, rows: int = 400) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What was told, what came of it, and static inputs: row r draws r nameplates and more by the step."""
    limit = 1000.0 + torch.arange(rows)
    shares = (torch.arange(rows)[:, None] + torch.arange(12) / 100)[:, None].expand(rows, 4, 12).clone()
    shares[:, 2] *= limit[:, None]
    static = torch.stack([limit, limit, limit, limit], dim=1)
    doubt = Doubt(untold, mistold, SPEC, torch.Generator().manual_seed(0))
    return shares, doubt(shares, static), static


def test_nothing_is_touched_where_nothing_is_asked() -> None:
    before, after, _ = told(0.0, 0.0)
    assert after is before


def test_the_schedule_is_hidden_as_a_whole_and_nothing_else() -> None:
    before, after, _ = told(0.25, 0.0)
    hidden = torch.isnan(after).flatten(1).any(1)
    assert 60 < hidden.sum() < 140
    assert torch.isnan(after[hidden][:, SCHEDULE]).all()
    assert torch.equal(after[:, :2], before[:, :2])
    assert torch.equal(after[~hidden], before[~hidden])


def test_a_false_schedule_is_true_at_another_time_or_of_another_entity() -> None:
    before, after, static = told(0.0, 0.5)
    shares, came = (future[:, 3] for future in (before, after))
    moved = (came.floor() == shares.floor()).all(1) & (came != shares).any(1)
    another = (came.floor() == shares.floor().roll(1, 0)).all(1)
    same = (came == shares).all(1)
    assert (moved | another | same).all()
    assert moved.sum() > 50
    assert another.sum() > 50
    assert same.sum() > 150
    assert (came.diff(dim=1) >= 0).all(), "the order of events stays"
    torch.testing.assert_close(after[:, 2] / static[:, :1], came)
