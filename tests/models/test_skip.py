"""What the linear skip makes of days that were not seen."""

import pytest
import torch
from torch import Tensor

from forecast.contracts.specs import ForecastSpec
from forecast.models.skip import LinearSkip

DAY = 24
SPEC = ForecastSpec(3600, 7 * DAY, DAY, ("power_w",), ("power_w",), (0.1, 0.5, 0.9))


def forecast(z: Tensor, seen: Tensor) -> Tensor:
    """Of one context `[L]`, before anything is learnt: `[H]`."""
    with torch.no_grad():
        return LinearSkip(SPEC)((z * seen)[None, None], seen[None, None])[0, 0]


def same_every_day() -> Tensor:
    return torch.sin(2 * torch.pi * torch.arange(7 * DAY) / DAY)


def seen_last(steps: int) -> Tensor:
    return (torch.arange(7 * DAY) >= 7 * DAY - steps).float()


def fading(gap: Tensor) -> Tensor:
    """What is left of a gap over the first day, `[H]`: 1 / e of it after three hours."""
    return gap * torch.exp(-torch.arange(DAY) / 3)


def test_of_a_whole_week_the_mean_of_its_days_is_forecast_and_a_gap_to_it_fades() -> None:
    torch.manual_seed(0)
    days = torch.randn(7, DAY)
    then = torch.cat([days[:1, 0], days[:-1, -1]])  # the context's first step stands for the one before it
    by_hand = 0.9 * (days.mean(0) + fading(days[-1, -1] - then.mean()))
    torch.testing.assert_close(forecast(days.flatten(), torch.ones(7 * DAY)), by_hand)


def test_a_newcomers_day_counts_for_more_than_half_of_seven_like_it_and_more_days_for_more() -> None:
    week = same_every_day()
    whole = forecast(week, torch.ones(7 * DAY)).norm()
    told = [float(forecast(week, seen_last(days * DAY)).norm() / whole) for days in (1, 2, 4, 7)]
    assert told == sorted(told)
    assert told[0] > 0.5
    assert told[-1] == pytest.approx(1.0)


def test_an_outage_is_filled_with_what_that_time_of_day_usually_is() -> None:
    week, seen = same_every_day(), torch.ones(7 * DAY)
    seen[3 * DAY : 4 * DAY] = 0
    torch.testing.assert_close(forecast(week, seen), forecast(week, torch.ones(7 * DAY)), rtol=0.03, atol=0.01)


def test_a_time_of_day_that_was_never_seen_is_the_mean_to_which_the_newest_fades() -> None:
    found = forecast(same_every_day(), seen_last(DAY // 2))
    gone, seen = (found - fading(found[0])).split(DAY // 2)
    assert gone.abs().max() < 1e-6
    assert (seen[1:].abs() > 0.1).all()


def test_a_context_that_is_no_whole_number_of_days_is_filled_from_its_own_times() -> None:
    length = DAY + DAY // 2
    skip = LinearSkip(ForecastSpec(3600, length, DAY, ("power_w",), ("power_w",), (0.1, 0.5, 0.9)))
    torch.nn.init.normal_(skip.weight)
    z, seen = torch.randn(1, 1, length), torch.ones(1, 1, length)
    seen[:, :, : DAY // 2] = 0
    by_hand = torch.cat([z[:, :, DAY:] / 2, z[:, :, DAY // 2 :]], dim=2)
    torch.testing.assert_close(skip(z * seen, seen), skip(by_hand, torch.ones_like(seen)))


@pytest.mark.parametrize("horizon", [DAY // 2, DAY, 2 * DAY + 5])
@pytest.mark.parametrize("context", [3 * DAY, 3 * DAY + 7])
def test_the_same_time_of_each_day_is_looked_at_wherever_the_context_begins(context: int, horizon: int) -> None:
    torch.manual_seed(0)
    skip = LinearSkip(ForecastSpec(3600, context, horizon, ("power_w",), ("power_w",), (0.1, 0.5, 0.9)))
    torch.nn.init.zeros_(skip.weight)
    torch.nn.init.normal_(skip.day_weight)
    z, seen = torch.randn(1, 1, context), torch.ones(1, 1, context)
    newest_first = z[0, 0, skip.same_time].unflatten(0, (3, horizon))
    by_hand = (newest_first * torch.matmul(skip.day_weight, skip.hats)[0]).sum(0)
    torch.testing.assert_close(skip(z, seen)[0, 0], by_hand)
