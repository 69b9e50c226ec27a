"""Which windows a step sees: reproducible, every level heard, few sites not drowned by many servers."""

from itertools import islice

import pytest
import torch

from forecast.training.sampling import LevelSampler

COUNTS = {2: 900, 3: 100, 6: 4}


def sampler(size: int = 64, seed: int = 0, shuffled: bool = False) -> LevelSampler:
    """Pairs (level code, index within the level): servers, racks and a site."""
    pairs = torch.tensor([(code, index) for code, count in COUNTS.items() for index in range(count)])
    if shuffled:
        pairs = pairs[torch.randperm(len(pairs), generator=torch.Generator().manual_seed(1))]
    return LevelSampler(pairs, pairs[:, 0], size, seed)


def drawn(source: LevelSampler, batches: int) -> torch.Tensor:
    return torch.cat(list(islice(source, batches)))


def test_a_batch_has_its_size() -> None:
    assert drawn(sampler(size=17), 1).shape == (17, 2)


def test_the_same_seed_draws_the_same_batches() -> None:
    assert torch.equal(drawn(sampler(seed=3), 5), drawn(sampler(seed=3), 5))
    assert not torch.equal(drawn(sampler(seed=3), 5), drawn(sampler(seed=4), 5))


def test_batches_of_one_pass_differ() -> None:
    first, second = islice(sampler(), 2)
    assert not torch.equal(first, second)


def test_iterating_again_starts_again() -> None:
    source = sampler()
    assert torch.equal(drawn(source, 2), drawn(source, 2))


@pytest.mark.parametrize("shuffled", [False, True])
def test_levels_appear_in_proportion_to_the_root_of_their_windows(shuffled: bool) -> None:
    code = drawn(sampler(size=1000, shuffled=shuffled), 40)[:, 0]
    share = {level: (code == level).double().mean().item() for level in COUNTS}
    # Roots 30, 10 and 2 of 42; the standard error of 40,000 draws is at most 0.0023.
    assert share == pytest.approx({2: 30 / 42, 3: 10 / 42, 6: 2 / 42}, abs=0.01)


def test_every_window_of_a_level_is_as_likely_as_any_other() -> None:
    pairs = drawn(sampler(size=1000), 40)
    racks = torch.bincount(pairs[pairs[:, 0] == 3, 1], minlength=100).double()
    assert len(racks) == 100
    # About 95 draws each, give or take 10; the chance of any of 100 straying by five deviations is 1 in 20,000.
    assert (racks - racks.mean()).abs().max() < 5 * racks.mean().sqrt()


def test_one_level_alone_is_drawn_evenly() -> None:
    pairs = torch.stack([torch.zeros(5, dtype=torch.long), torch.arange(5)], 1)
    alone = LevelSampler(pairs, torch.full((5,), 2), 500, 0)
    assert set(drawn(alone, 1)[:, 1].tolist()) == set(range(5))
