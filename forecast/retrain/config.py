"""Everything a person can set, typed at the edge: Hydra composes it, and below it only these classes are seen."""

import importlib
import math
import pkgutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from types import ModuleType
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

import forecast.models
import forecast.traces
from forecast.contracts.errors import ConfigError
from forecast.contracts.specs import CALENDAR
from forecast.evaluation.splits import EvaluationConfig
from forecast.models.base import ModelConfig
from forecast.traces.trace import Source
from forecast.training.config import CHAMPION, TrainerConfig, TrainingConfig

#: The tails for limits, the deciles for scores.
_LEVELS = [0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99]


@dataclass
class WindowConfig:
    """What the forecast looks at and gives.

    Attributes:
        step_s: grid step, seconds; must divide a day.
        context_steps: steps looked back.
        horizon_steps: steps forecast.
        targets: signals forecast.
        past: observed signals it looks at; the targets come first.
        future: what it is told ahead; the names are in `forecast.contracts.specs.FUTURE`.
        quantile_levels: ascending, symmetric about 0.5.
    """

    step_s: int = 300
    context_steps: int = 2016
    horizon_steps: int = 288
    targets: list[str] = field(default_factory=lambda: ["power_w", "temperature_c"])
    past: list[str] = field(default_factory=lambda: ["power_w", "temperature_c", "inlet_c", "utilization_ratio"])
    future: list[str] = field(default_factory=lambda: list(CALENDAR))
    quantile_levels: list[float] = field(default_factory=lambda: list(_LEVELS))


@dataclass
class RegistryConfig:
    """Where bundles are published.

    Attributes:
        root: folder of all named forecasts.
        publish: whether a run that passes its gate goes into service; a sweep never publishes.
        keep: versions retained.
    """

    root: str = "var/registry"
    publish: bool = True
    keep: int = 10

    def __post_init__(self) -> None:
        if self.keep < 1:
            raise ConfigError(f"registry.keep is {self.keep}; it must be 1 or more: what serves is a version too.")


@dataclass
class GateConfig:
    """What a bundle must hold to go into service, beyond being better.

    Attributes:
        champion_max_age_days: once the data of the version in service is older than this, being as good will do. A week
            of test is so noisy that better ones are held back for days otherwise (docs/deploy.md).
        max_bundle_mb: of what a server loads, MB.
        max_ms_per_1000: of one processor core for 1,000 forecasts, ms.
    """

    champion_max_age_days: float = 2.0
    max_bundle_mb: float = 64.0
    max_ms_per_1000: float = 5000.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0:
                raise ConfigError(f"gate.{name} is {value:g}; it must be above 0.")


class Log(StrEnum):
    """What a run prints: lines for people, JSON lines, or JSON lines where nobody watches."""

    text = "text"
    json = "json"
    auto = "auto"


class When(StrEnum):
    """What makes a run train: data that came, or data unlike what the version in service knows."""

    new = "new"
    drifted = "drifted"


@dataclass
class JobConfig:
    """One run of the job.

    Attributes:
        name: of the forecast, in the registry.
        seed: of everything random.
        cache: folder of what is expensive to make and cheap to lose.
        memory_gb: what building the panel may hold, whatever the size of the telemetry.
        free_gb: what the disks of the registry, the cache and the run must have left for a run to begin.
        allowed_lateness_h: how much older than the newest complete step the newest one used is: rows that come so late
            still count.
        when: to train: new, on data that came; drifted, only when it is unlike what the version in service knows, or
            when nothing is in service.
        log: what is printed: text, json, or auto, which is json unless a terminal listens; `log.jsonl` comes anyway.
        metrics_file: a .prom file to write for the textfile collector of node_exporter.
    """

    name: str = "day-ahead"
    seed: int = 0
    cache: str = "var/cache"
    memory_gb: float = 4.0
    free_gb: float = 0.5
    allowed_lateness_h: float = 0.0
    when: When = When.new
    log: Log = Log.text
    metrics_file: str | None = None
    source: Source = MISSING
    window: WindowConfig = field(default_factory=WindowConfig)
    model: ModelConfig = MISSING
    training: TrainingConfig = field(default_factory=lambda: TrainingConfig(start_from=CHAMPION))
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    gate: GateConfig = field(default_factory=GateConfig)
    registry: RegistryConfig = field(default_factory=RegistryConfig)

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**32:  # NumPy's range
            raise ConfigError(f"seed is {self.seed}; it must be from 0 to {2**32 - 1}.")
        for name in ("memory_gb", "free_gb", "allowed_lateness_h"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"{name} is {getattr(self, name):g}; it must be a number, 0 or above.")


def register() -> None:
    """Tell Hydra the types: of the job, and of every source and model that has a file.

    The settings class of `models/patch_mixer.py` becomes the option `model/patch_mixer_schema`, which
    `configs/model/patch_mixer.yaml` names in its defaults. A new model needs its file and its YAML, nothing here.
    """
    store = ConfigStore.instance()
    store.store(name="schema", node=JobConfig)
    for group, package, base in (("model", forecast.models, ModelConfig), ("source", forecast.traces, Source)):
        for file, setting in _kinds(package, base):
            store.store(group=group, name=f"{file}_schema", node=setting)


def plain(config: JobConfig) -> dict[str, Any]:
    """Every setting as plain data; a source's and a model's `kind` is the file that defines it."""
    kinds = {"source": config.source, "model": config.model}
    settings = asdict(config)
    return settings | {
        group: {"kind": type(chosen).__module__.rsplit(".", 1)[1], **settings[group]} for group, chosen in kinds.items()
    }


def models() -> dict[str, type[ModelConfig]]:
    """The settings class of every model that has a file, by its name."""
    return {kind.__name__: kind for _, kind in _kinds(forecast.models, ModelConfig)}


def _kinds(package: ModuleType, base: type[Any]) -> Iterator[tuple[str, type[Any]]]:
    """The subclasses of `base` defined in the files of `package`, each with its file's name."""
    for module in _modules(package):
        for setting in vars(module).values():
            if _defined_in(setting, module) and issubclass(setting, base) and setting is not base:
                yield module.__name__.rsplit(".", 1)[1], setting


def _modules(package: ModuleType) -> list[ModuleType]:
    return [
        importlib.import_module(found.name) for found in pkgutil.iter_modules(package.__path__, f"{package.__name__}.")
    ]


def _defined_in(value: Any, module: ModuleType) -> bool:
    return isinstance(value, type) and value.__module__ == module.__name__
