"""What the jobs may come to, as masses of the cells: by the chances that are told, and only where they are."""

import torch
from every_model import build
from told_jobs import AT, SPEC, STEPS, inputs
from torch import Tensor
from torch.testing import assert_close

from forecast.models.adaptive_cdf import AdaptiveCdf
from forecast.models.ahead import AheadScaler
from forecast.models.known import JobOutlook
from forecast.models.outcomes import Outcomes
from forecast.models.scaling import Scaler

#: Cells 50 W wide, of machines of 1000 W.
CELLS = 21


@torch.no_grad()
def told(past: Tensor, future: Tensor, static: Tensor) -> tuple[Tensor, Tensor]:
    """Masses and their share before anything is learnt."""
    scaled = Scaler(SPEC)(past, static)
    jobs = JobOutlook(SPEC, STEPS, state=4, hidden=8)
    summary = torch.zeros(len(past), 4)
    looked = jobs.look(scaled, AheadScaler(SPEC)(future, scaled), summary)
    edges = (torch.linspace(0.0, 1.05, CELLS + 1) - scaled.loc[:, :1]) / scaled.spread[:, :1]
    outcomes = Outcomes(jobs, 4, CELLS + 1).eval()
    masses, share = outcomes(edges.expand(-1, 2, -1), scaled, looked, summary, torch.zeros(len(past), 2, len(STEPS)))
    return masses, share


def built() -> tuple[AdaptiveCdf, Outcomes]:
    """A model with some weights, and its part."""
    model = build("adaptive_cdf", SPEC, noise=0.1)
    assert isinstance(model, AdaptiveCdf)
    assert model.outcomes is not None
    return model, model.outcomes


def above(masses: Tensor, power: float) -> Tensor:
    """How likely a load above so many W is at the last step, `[B]`."""
    return masses[:, 0, -1, int(power / 50) :].sum(1)


def test_the_masses_of_power_are_chances_of_which_half_is_believed() -> None:
    masses, share = told(*inputs(0.0, 0.0))
    assert_close(masses[:, 0].sum(2), torch.ones(len(masses), len(STEPS)))
    assert (masses[:, 0] > 0).all()
    assert_close(share[:, 0], torch.full_like(share[:, 0], 0.5))
    assert not share[:, 1].any(), "of temperature nothing"


def test_the_likelier_the_job_stays_the_likelier_is_its_load() -> None:
    """Machines draw 600 W; idle ones draw a quarter of their nameplate before anything is learnt, 250 W."""
    chances = [float(above(told(*inputs(0.6 * busy, busy))[0], 450).mean()) for busy in (0.0, 0.3, 0.7, 1.0)]
    assert chances == sorted(chances)
    assert chances[-1] > chances[0] + 0.3


def test_another_job_brings_its_own_load() -> None:
    """One of 900 W follows the one of 600 W."""
    past, future, static = inputs(0.9, 1.0)
    stays = told(past, future, static)[0]
    future[:, [AT["running_power_w"], AT["running_busy_ratio"]], 6:] = 0.0
    joins = told(past, future, static)[0]
    assert (above(joins, 750) > above(stays, 750) + 0.1).all()


def test_where_nothing_is_told_nothing_is_believed() -> None:
    past, future, static = inputs(0.0, 0.0)
    future[:, list(AT.values())] = torch.nan
    assert not told(past, future, static)[1].any()
    model, outcomes = built()
    before = model(past, future, static)
    with torch.no_grad():
        outcomes.say.bias.fill_(1.0)
    assert torch.equal(before, model(past, future, static))


def test_masses_are_learnt_from_every_outcome() -> None:
    """Centres, widths, chances and the share each gain from a loss."""
    model, outcomes = built()
    model(*inputs(0.4, 0.5)).square().mean().backward()
    weight = outcomes.say.weight.grad
    assert weight is not None
    assert (weight.abs().sum(1) > 0).all()
