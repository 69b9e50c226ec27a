"""Settings of the patch mixer that cannot work."""

from dataclasses import replace

import pytest

from forecast.contracts.errors import ConfigError
from forecast.contracts.specs import ForecastSpec
from forecast.models.patch_mixer import PatchMixerConfig


def test_patches_that_do_not_divide_the_context_are_refused_by_name(spec: ForecastSpec) -> None:
    with pytest.raises(ConfigError, match=r"patches=7.*context_steps=48"):
        PatchMixerConfig(patches=7).build(spec, 1)


@pytest.mark.parametrize("patches", [1, 6, 48])
def test_any_divisor_will_do(spec: ForecastSpec, patches: int) -> None:
    model = PatchMixerConfig(patches=patches).build(spec, 1)
    assert sum(weight.numel() for weight in model.parameters())


def test_a_context_of_another_length_needs_other_patches(spec: ForecastSpec) -> None:
    with pytest.raises(ConfigError, match="choose a divisor"):
        PatchMixerConfig(patches=24).build(replace(spec, context_steps=50), 1)
