"""The recipe of the pretrained models: `make pretrain`.

Each learns from all simulated sites of `fleets`, from telemetry drawn from a `prior`, and from the public telemetry
that is named, in the model that `configs/config.yaml` chooses: a change of the flagship is followed by running this
again.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import Tensor

from forecast.calibration.conformal import fit_offsets
from forecast.contracts.errors import FAILURES, ConfigError, ExitCode, tell
from forecast.contracts.specs import CALENDAR, ForecastSpec
from forecast.contracts.version import code_version
from forecast.evaluation.splits import EvaluationConfig
from forecast.features.outlook import OUTLOOK_NAMES
from forecast.models.adaptive_cdf import AdaptiveCdf
from forecast.retrain.config import JobConfig, register
from forecast.retrain.fleets import fleets
from forecast.retrain.mistakes import explain
from forecast.retrain.prepare import prepare, spec_of
from forecast.retrain.pretrained import Pretrained
from forecast.retrain.prior import KINDS, drawn
from forecast.retrain.stages import Stages
from forecast.simulator.config import SimulatorConfig
from forecast.traces.simulated import SimulatedSource
from forecast.training.fit import Fit, fit, spread
from forecast.windows.gather import Windows
from forecast.windows.inputs import Constants
from forecast.windows.pool import Pool
from forecast.wording import some_of

_CONFIGS = Path(__file__).parents[2] / "configs"
#: Sources that only benchmarks use.
_MORE = Path(__file__).parents[2] / "benchmarks" / "accuracy" / "configs"
_SHIPPED = Path(__file__).parents[1] / "pretrained"

#: A fleet that hardly moves teaches as much as a server that is idle or busy.
_CALM_TOO = "training.by_spread=1"

#: For sites that tell their jobs: nothing that is drawn has any.
_JOBS_TOLD = (
    f"window.future=[{','.join((*CALENDAR, 'scheduled_power_w', *OUTLOOK_NAMES))}]",
    "training.gaps.untold=0.15",
    "training.gaps.mistold=0.1",
)


@dataclass(frozen=True)
class Recipe:
    """What the model of one window is made with, beside what all share.

    Attributes:
        overrides: of `configs/config.yaml`.
        drawn: entities of each of the seeds of what is drawn, by kind (`prior.KINDS`).
        wider: levels lie so many times as far from the median as what is simulated or drawn asks for: measured sites
            are stranger.
        weekly: so much more is the power of a week ago preferred, in logits of the day: measured fleets repeat weeks.
        every: so many steps lie between windows that are learnt from; of machines that hold a load all are in whose
            context the temperature goes up or down. At 1 there are few of those among many that tell the same.
    """

    overrides: tuple[str, ...]
    drawn: Mapping[str, int]
    wider: float = 1.0
    weekly: float = 0.0
    every: int = 1


#: Windows that ship. Servers by the hour, which idle for days and then do not, are worse where calm contexts count as
#: much, and where what is simulated is learnt for long. Transients are few: minutes see more of them, and their loss,
#: in the root of the spread, falls for long. What all else is worth is told in docs/experiments.md.
WINDOWS: dict[str, Recipe] = {
    "day-ahead": Recipe((_CALM_TOO,), drawn={"any": 32}, wider=1.2, weekly=0.7),
    "day-ahead-schedule": Recipe(_JOBS_TOLD, drawn={}),
    "hourly": Recipe(
        ("window.step_s=3600", "window.context_steps=336", "window.horizon_steps=48", "training.steps=700"),
        drawn={"any": 32, "shared": 64, "weekly": 16},
    ),
    "minutes": Recipe(
        (
            "window.step_s=15",
            "window.context_steps=40",
            "window.horizon_steps=40",
            "training.by_spread=0.5",
            "training.steps=6000",
        ),
        drawn={"any": 32, "held": 128},
        wider=1.05,
        every=16,
    ),
}

#: A temperature goes up or down where the means of these steps of a context lie so many kelvin apart.
_MOVES_K, _FROM, _TO = 0.7, slice(-13, -10), slice(-3, None)

#: Seeds of what is drawn: nearly as many as there are simulated sites. With few entities each they count for half.
_DRAWN = range(201, 209)

#: Public telemetry (options of the group `source`) that each window can learn from.
PUBLIC = {
    "day-ahead": ("google_pdu", "azure_fleet", "google_cell"),
    "day-ahead-schedule": (),
    "hourly": ("biohpc", "google_pdu", "azure_fleet", "google_cell"),
    "minutes": ("bmc_thermal",),
}

#: The end of each record validates and calibrates: this share of it.
_VALIDATION_SHARE = 0.2
_VALIDATION_STRIDE = 6
_CALIBRATION_WINDOWS = 8192

#: Windows that are looked at at once for how they move.
_AT_ONCE = 65_536

#: The weights that have a row per level of the tree, the first for an unknown one.
_PER_LEVEL = "level.weight"


@dataclass(frozen=True, eq=False)
class Site:
    """One member of the pool: its windows, and what trains and validates."""

    windows: Windows
    train: Tensor
    validation: Tensor


def pretrain(name: str, public: Sequence[str], stages: Stages, overrides: Sequence[str] = ()) -> Pretrained:
    """Train the model for the window `name` on every simulated site, on what is drawn, and on the sources `public`.

    Args:
        name: of `WINDOWS`.
        public: of `PUBLIC[name]`.
        stages: two per site, then drawing, training and calibration.
        overrides: of the configuration.

    Raises:
        ConfigError, DataError: as a run of the job would.
    """
    recipe = WINDOWS[name]
    base = composed("experiment=pretraining", *recipe.overrides, *overrides)
    spec = spec_of(base.window)
    sites, skus = _sites(base, spec, recipe, public, stages)
    pool = Pool([site.windows for site in sites], spec)
    train = pool.joined([site.train for site in sites])
    validation = pool.joined([site.validation for site in sites])
    torch.manual_seed(base.seed)
    model = base.model.build(spec, len(skus)).to(base.trainer.device())
    with stages("train") as stage:
        fitted = fit(model, pool, train, validation, base.training, base.trainer, base.seed, stage.progress)
        stage.result = f"validation loss {fitted.validation_loss:.4f}, best at step {fitted.step}"
    if isinstance(model, AdaptiveCdf):
        model.days.prefer_week(spec.targets.index("power_w"), recipe.weekly)
    with stages("calibrate") as stage:
        offsets = fit_offsets(model, pool, spread(validation, _CALIBRATION_WINDOWS), wider=recipe.wider)
        stage.result = f"{len(validation):,} validation windows"
    weights = _known_kinds(model.state_dict(), pool.level_code)
    return Pretrained(spec, base.model, skus, weights, offsets, _facts(base, sites, recipe, fitted, public))


def composed(*overrides: str) -> JobConfig:
    """The configuration of `python train.py OVERRIDES`.

    Raises:
        ConfigError: an override of what there is not.
    """
    register()
    try:
        with initialize_config_dir(str(_CONFIGS), version_base="1.3"):
            found = compose("config", overrides=[f"hydra.searchpath=[file://{_MORE}]", *overrides])
            config = OmegaConf.to_object(found)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(explain(error, _CONFIGS)) from error
    assert isinstance(config, JobConfig)  # noqa: S101 - the schema's
    return config


def _sites(
    base: JobConfig, spec: ForecastSpec, recipe: Recipe, public: Sequence[str], stages: Stages
) -> tuple[list[Site], tuple[str, ...]]:
    """Every site's windows, so many drawn entities of each seed by kind, and the kinds of machine of all."""
    configs = [_simulated(base, fleet) for fleet in fleets(base.window.step_s)]
    configs += [_published(source, spec) for source in public]
    found = [prepare(config, stages) for config in configs]
    skus = tuple(sorted({sku for prepared in found for sku in prepared.trace.topology.skus} - {"unknown"}))
    device = base.trainer.device()
    sites = [
        _site(Windows(each.panel, Constants.of(each.trace.topology, skus, each.ahead), each.spec, device), recipe.every)
        for each in found
    ]
    with stages("draw") as stage:
        for kind, entities in recipe.drawn.items():
            for seed in _DRAWN:
                panel, topology = drawn(spec, seed, entities, kind=kind)
                windows = Windows(panel, Constants.of(topology, skus), spec, device)
                sites.append(_site(windows, recipe.every, transients=KINDS[kind].held))
        stage.result = f"{sum(recipe.drawn.values()) * len(_DRAWN)} entities"
    return sites, skus


def _simulated(base: JobConfig, fleet: SimulatorConfig) -> JobConfig:
    path = f"var/pretraining/{fleet.seed}-{fleet.step_s}s"
    return replace(base, source=SimulatedSource(fleet=fleet, path=path), evaluation=_shortest(spec_of(base.window)))


def _published(source: str, spec: ForecastSpec) -> JobConfig:
    """A public source in windows of `spec`, with the channels that it has."""
    config = composed(f"source={source}")
    window = replace(
        config.window, step_s=spec.step_s, context_steps=spec.context_steps, horizon_steps=spec.horizon_steps
    )
    return replace(config, window=window, evaluation=_shortest(spec))


def _shortest(spec: ForecastSpec) -> EvaluationConfig:
    """Ranges that any record holds: `_site` cuts its own."""
    horizon_h = spec.horizon_steps * spec.step_s / 3600
    return EvaluationConfig(test_h=horizon_h, validation_h=horizon_h)


def _site(windows: Windows, every: int = 1, transients: bool = False) -> Site:
    """Learns from windows so many steps apart, and from all `transients` where those are asked for."""
    until = round(windows.steps * (1 - _VALIDATION_SHARE))
    first, cut, last = (torch.full_like(windows.level_code, step) for step in (0, until, windows.steps))
    validation = windows.pairs(cut, last, _VALIDATION_STRIDE)
    if not transients:
        return Site(windows, windows.pairs(first, cut, every), validation)
    train = windows.pairs(first, cut)
    moving = torch.cat([_moves(windows.batch(*some.T).past, windows.spec) for some in train.split(_AT_ONCE)])
    return Site(windows, train[moving | (train[:, 1] % every == 0)], validation)


def _moves(past: Tensor, spec: ForecastSpec) -> Tensor:
    """Whether the temperature goes up or down in each context, `past [B, C, L]`; where it is unknown it does not."""
    temperature = past[:, spec.past.index("temperature_c")]
    trend = temperature[:, _TO].mean(1) - temperature[:, _FROM].mean(1)
    return trend.abs() > _MOVES_K


def _known_kinds(weights: dict[str, Tensor], level_code: Tensor) -> dict[str, Tensor]:
    """The weights, with those of a level that no site has made those of an unknown one."""
    seen = level_code.unique()
    kept = {}
    for name, weight in weights.items():
        if name.endswith(_PER_LEVEL):
            never = torch.ones(len(weight), dtype=torch.bool, device=weight.device)
            never[seen] = False
            weight = torch.where(never[:, None], weight[0], weight)  # noqa: PLW2901
        kept[name] = weight
    return kept


def _facts(
    base: JobConfig, sites: Sequence[Site], recipe: Recipe, fitted: Fit, public: Sequence[str]
) -> dict[str, Any]:
    return {
        "simulated": [fleet.seed for fleet in fleets(base.window.step_s)],
        "drawn": list(_DRAWN) if recipe.drawn else [],
        "drawn_of_each": dict(recipe.drawn),
        "every": recipe.every,
        "public": list(public),
        "entities": sum(len(site.windows.level_code) for site in sites),
        "windows": sum(len(site.train) for site in sites),
        "training": asdict(base.training),
        "seed": base.seed,
        "code_version": code_version(),
        "step": fitted.step,
        "validation_loss": round(fitted.validation_loss, 5),
    }


def main(arguments: list[str] | None = None) -> int:
    """Write the models that are asked for; return the exit code."""
    chosen = _arguments(arguments)
    try:
        _write(chosen)
    except FAILURES as error:
        return tell(error, "pretraining")
    return ExitCode.PUBLISHED


def _write(chosen: argparse.Namespace) -> None:
    for name in chosen.windows:
        public = [source for source in PUBLIC[name] if source in chosen.public]
        stages = Stages(2 * (len(fleets(300)) + len(public)) + 3)
        found = pretrain(name, public, stages, chosen.overrides)
        found.write(chosen.out / f"{name}.safetensors")
        stages.say(f"{chosen.out / name}.safetensors")


def _arguments(arguments: list[str] | None) -> argparse.Namespace:
    everything = sorted({source for sources in PUBLIC.values() for source in sources})
    parser = argparse.ArgumentParser(prog="python -m forecast.retrain.pretrain", description=__doc__)
    parser.add_argument("--windows", type=some_of(WINDOWS), default=list(WINDOWS), help=f"of {','.join(WINDOWS)}")
    parser.add_argument("--public", type=some_of(everything), default=[], help=f"of {','.join(everything)}")
    parser.add_argument("--out", type=Path, default=_SHIPPED)
    parser.add_argument("overrides", nargs="*", help="of the configuration, such as model=adaptive_cdf")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
