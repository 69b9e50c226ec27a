"""The interface of a forecast: what cannot mean anything is refused, and JSON gives back what went in."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecast.contracts.errors import ConfigError, ExitCode
from forecast.contracts.signals import SIGNALS, TARGETS
from forecast.contracts.specs import CALENDAR, FUTURE, ForecastSpec


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"step_s": 0}, "at least 1"),
        ({"context_steps": 0}, "at least 1"),
        ({"horizon_steps": -1}, "at least 1"),
        ({"step_s": 7000}, "step_s=7000 does not divide a day"),
        ({"step_s": 172_800}, "does not divide a day"),
        ({"targets": ()}, "targets is empty; choose from power_w, temperature_c"),
        ({"targets": ("inlet_c",), "past": ("inlet_c",)}, "targets names 'inlet_c'"),
        ({"past": ()}, "past is empty"),
        ({"past": ("power_w", "temperature_c", "humidity")}, "past names 'humidity'"),
        ({"past": ("power_w", "temperature_c", "power_w")}, "past names a signal twice"),
        ({"past": ("temperature_c", "power_w")}, "past must start with the targets"),
        ({"past": ("power_w",)}, "past must start with the targets"),
        ({"quantile_levels": ()}, "must ascend"),
        ({"quantile_levels": (0.1, 0.9)}, "hold it"),
        ({"quantile_levels": (0.1, 0.5, 0.8)}, "mirror"),
        ({"quantile_levels": (0.9, 0.5, 0.1)}, "ascend"),
        ({"quantile_levels": (0.1, 0.5, 0.5, 0.9)}, "ascend"),
        ({"quantile_levels": (0.0, 0.1, 0.5, 0.9, 1.0)}, "inside"),
        ({"quantile_levels": (0.2, 0.5, 0.8)}, "hold 0.1 and 0.9"),
    ],
)
def test_an_interface_that_means_nothing_is_refused(spec: ForecastSpec, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as refusal:
        replace(spec, **change)
    assert refusal.value.exit_code == ExitCode.USAGE


@given(
    step_s=st.sampled_from([1, 60, 300, 3600, 86_400]),
    steps=st.tuples(st.integers(1, 5000), st.integers(1, 5000)),
    targets=st.permutations(list(TARGETS)).flatmap(lambda names: st.integers(1, 2).map(lambda n: tuple(names[:n]))),
    others=st.lists(st.sampled_from(sorted(set(SIGNALS) - set(TARGETS))), unique=True),
    low=st.sampled_from([(0.1,), (0.01, 0.1), (0.05, 0.1, 0.3)]),
)
def test_json_gives_back_the_same_interface(
    step_s: int, steps: tuple[int, int], targets: tuple[str, ...], others: list[str], low: tuple[float, ...]
) -> None:
    levels = (*low, 0.5, *(round(1 - level, 9) for level in reversed(low)))
    spec = ForecastSpec(step_s, *steps, targets, (*targets, *others), levels)
    assert ForecastSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


@pytest.mark.parametrize(("step_s", "steps"), [(300, 288), (3600, 24), (86_400, 1)])
def test_steps_of_a_day(spec: ForecastSpec, step_s: int, steps: int) -> None:
    assert replace(spec, step_s=step_s).day_steps == steps


def test_what_is_known_ahead_has_names_and_an_old_bundle_keeps_the_calendar(spec: ForecastSpec) -> None:
    with pytest.raises(ConfigError, match=r"future names 'humidity'; known are day_sin, .*power_cap_w") as refusal:
        replace(spec, future=(*CALENDAR, "humidity"))
    assert "\n" not in str(refusal.value)
    with pytest.raises(ConfigError, match="future is empty"):
        replace(spec, future=())
    before = {name: value for name, value in spec.to_dict().items() if name != "future"}
    assert ForecastSpec.from_dict(before) == spec
    told = replace(spec, future=tuple(FUTURE))
    assert ForecastSpec.from_dict(json.loads(json.dumps(told.to_dict()))) == told
