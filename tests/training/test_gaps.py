"""What training hides: as much as asked, the same for the same seed, and never what is to be forecast."""

from collections.abc import Sequence

import pytest
import torch
from every_model import random_inputs
from hypothesis import given
from hypothesis import strategies as st

from forecast.contracts.errors import ConfigError
from forecast.contracts.specs import ForecastSpec
from forecast.training.gaps import Gaps, GapsConfig
from forecast.windows.gather import Batch

SPEC = ForecastSpec(
    step_s=3600,
    context_steps=168,
    horizon_steps=12,
    targets=("power_w", "temperature_c"),
    past=("power_w", "temperature_c", "utilization_ratio"),
    quantile_levels=(0.1, 0.5, 0.9),
)
ROWS = 400


def batch(rows: int = ROWS, missing: float = 0.0) -> Batch:
    past, future, static = random_inputs(SPEC, rows, missing=missing)
    static[:, 2:] = static[:, 2:].clamp(min=1)
    return Batch(past, future, static, torch.rand(rows, 2, SPEC.horizon_steps))


def hide(config: GapsConfig, given: Batch, seed: int = 0) -> Batch:
    return Gaps(config, SPEC, seed, torch.device("cpu"))(given)


def only(**shares: float) -> GapsConfig:
    return GapsConfig(**({"outages": 0, "dead": 0, "short": 0, "unknown_kind": 0} | shares))


def lost(given: Batch, made: Batch) -> torch.Tensor:
    return torch.isnan(made.past) & ~torch.isnan(given.past)


shares = st.floats(0, 1)
any_gaps = st.builds(GapsConfig, outages=shares, dead=shares, short=shares, unknown_kind=shares)


@given(config=any_gaps, seed=st.integers(0, 1000))
def test_nothing_is_invented_and_what_can_be_asked_is_as_it_was(config: GapsConfig, seed: int) -> None:
    before = batch(40, missing=0.3)
    kept = [part.clone() for part in before]
    after = hide(config, before, seed)
    assert all(torch.equal(part, old, ) if not part.isnan().any() else torch.equal(part.nan_to_num(), old.nan_to_num())
               for part, old in zip(before, kept, strict=True))  # fmt: skip
    seen = ~torch.isnan(after.past)
    assert torch.equal(after.past[seen], before.past[seen])
    asked = seen[:, :2].any(2)
    assert torch.equal(after.target[asked], before.target[asked])
    assert torch.isnan(after.target[~asked]).all()
    assert torch.equal(after.future.nan_to_num(), before.future.nan_to_num())
    assert torch.equal(after.static[:, :2], before.static[:, :2])
    changed = after.static[:, 2:] != before.static[:, 2:]
    assert (after.static[:, 2:][changed] == 0).all()


def test_without_shares_nothing_is_hidden() -> None:
    before = batch()
    assert hide(GapsConfig(0, 0, 0, 0), before) is before


@pytest.mark.parametrize("kind", ["outages", "dead", "short", "unknown_kind"])
def test_the_same_seed_hides_the_same_and_another_does_not(kind: str) -> None:
    config = only(**{kind: 0.5})
    first, second, other = (hide(config, batch(), seed) for seed in (1, 1, 2))
    field = "static" if kind == "unknown_kind" else "past"
    same, differs = getattr(first, field).nan_to_num(-1), getattr(other, field).nan_to_num(-1)
    assert torch.equal(same, getattr(second, field).nan_to_num(-1))
    assert not torch.equal(same, differs)


def test_successive_batches_lose_different_stretches() -> None:
    gaps, before = Gaps(only(outages=1.0), SPEC, 0, torch.device("cpu")), batch()
    assert not torch.equal(torch.isnan(gaps(before).past), torch.isnan(gaps(before).past))


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_as_many_windows_lose_something_as_asked(share: float) -> None:
    before = batch(4000)
    for config in (only(outages=share), only(short=share)):
        hit = lost(before, hide(config, before)).any(2).any(1).float().mean()
        assert hit == pytest.approx(share, abs=0.04)
    unknown = hide(only(unknown_kind=share), before).static[:, 2:] == 0
    assert unknown.float().mean() == pytest.approx(share, abs=0.04)


def test_outages_take_up_to_half_of_a_channel_in_stretches_of_many_lengths() -> None:
    before = batch(2000)
    gone = lost(before, hide(only(outages=1.0), before))
    share = gone.float().mean(2)
    assert share.max() < 0.65  # one by one, chance adds to the half
    assert share.mean() == pytest.approx(0.2, abs=0.06)
    runs = _longest_runs(gone[:, 0])
    assert max(runs) > SPEC.context_steps * 0.4
    assert sum(run < 8 for run in runs) > len(runs) * 0.05
    together = (gone == gone[:, :1]).all(2).all(1)
    assert 0.3 < together.float().mean() < 0.7


def _longest_runs(gone: torch.Tensor) -> Sequence[int]:
    return [max((len(run) for run in "".join("x" if step else " " for step in row).split()), default=0)
            for row in gone.tolist()]  # fmt: skip


def test_dead_channels_leave_a_target() -> None:
    before = batch(2000)
    gone = lost(before, hide(only(dead=1.0), before))
    whole = gone.all(2)
    assert torch.equal(whole, gone.any(2))
    assert not whole[:, :2].all(1).any()
    assert whole[:, 2].float().mean() == pytest.approx(0.5, abs=0.05)
    assert whole[:, 0].float().mean() == pytest.approx(0.25, abs=0.05)


def test_short_histories_end_now_and_are_hours_as_often_as_days() -> None:
    before = batch(2000)
    known = (~torch.isnan(hide(only(short=1.0), before).past)).all(1)
    assert known[:, -1].all()
    length = known.sum(1)
    assert torch.equal(known, torch.arange(SPEC.context_steps, 0, -1) <= length[:, None])
    assert ((length <= 13).float().mean() - 0.5).abs() < 0.06  # the geometric middle of 1 and 168 h is 13 h


@pytest.mark.parametrize("share", [-0.1, 1.5])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(ConfigError, match=r"training\.gaps\.short is .*from 0 to 1"):
        GapsConfig(short=share)


def test_three_in_ten_histories_are_short_where_a_fit_goes_on_from_weights_learnt_before() -> None:
    before, config = batch(4000), GapsConfig(outages=0, dead=0, unknown_kind=0)
    for learnt_before, share in ((False, 0.1), (True, 0.3)):
        gaps = Gaps(config, SPEC, 0, torch.device("cpu"), learnt_before)
        assert lost(before, gaps(before)).any(2).any(1).float().mean() == pytest.approx(share, abs=0.03)
    told = Gaps(only(short=0.0), SPEC, 0, torch.device("cpu"), learnt_before=True)
    assert told(before) is before, "what is set is set"
