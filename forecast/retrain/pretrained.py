"""Weights learnt elsewhere, to start from: those that ship with the package, or a file of one's own.

A pretrained model is two files: NAME.safetensors (weights, and the offsets of its calibration) and NAME.json, which
says what they are of. Neither names code to run: the model is looked up by name among those that exist.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from forecast.contracts.errors import ConfigError
from forecast.contracts.specs import ForecastSpec
from forecast.disk import write_whole
from forecast.models.adapted import adapted
from forecast.models.base import ModelConfig, QuantileModel
from forecast.models.linear import PER_STEP, at_levels
from forecast.models.narrowed import narrowed, narrowed_spec
from forecast.retrain.config import models
from forecast.training.config import CHAMPION

FORMAT = 1

#: What `training.start_from` says for a model of the package.
SHIPPED = "pretrained"

_FOLDER = Path(__file__).parents[1] / "pretrained"
_OFFSETS = "calibration.offsets"

#: The weights that have a row per SKU, the first for an unknown one.
_PER_SKU = "sku.weight"


@dataclass(frozen=True, eq=False)
class Pretrained:
    """A model to start from.

    Attributes:
        spec: the interface it was trained for.
        config: what builds the model.
        skus: the kinds it knows, in the order of its codes from 1 on.
        weights: by name.
        offsets: `[G, T, Q, H]`, its calibration; see `forecast.calibration.conformal`.
        facts: what it was made from.
    """

    spec: ForecastSpec
    config: ModelConfig
    skus: tuple[str, ...]
    weights: dict[str, Tensor]
    offsets: Tensor
    facts: dict[str, Any]

    @classmethod
    def find(cls, start_from: str, spec: ForecastSpec) -> "Pretrained":
        """The model of `training.start_from`: a shipped one whose windows are those of `spec`, or that of a file.

        Raises:
            ConfigError: there is none, it is damaged, or it does not fit the site.
        """
        if start_from != SHIPPED:
            path = Path(start_from)
            if not path.is_file() or path.suffix != ".safetensors":
                missed = "no .safetensors file" if path.exists() else "no file"
                raise ConfigError(
                    f"training.start_from is {start_from!r}, which is {missed}; set it to {CHAMPION}, {SHIPPED}, "
                    f"null, or the path of a .safetensors file."
                )
            found = cls.read(path)
            found.check(spec, start_from)
            return found
        known = cls._all_shipped(spec)
        for found in known:
            if _windows(found.spec) == _windows(spec):
                found.check(spec, start_from)
                return found
        shipped = dict.fromkeys(_said(each.spec) for each in known)
        raise ConfigError(
            f"no pretrained model for {_said(spec)}; shipped are {', '.join(shipped)}. "
            f"Change `window`, or set training.start_from to a model of your own (`make pretrain` shows how)."
        )

    @classmethod
    def shipped(cls, spec: ForecastSpec, config: ModelConfig) -> "Pretrained | None":
        """Of those of the package the one of that model that forecasts `spec` and knows all that it is told."""
        for found in cls._all_shipped(spec):
            known = all(
                set(getattr(spec, names)) <= set(getattr(found.spec, names)) for names in ("targets", "past", "future")
            )
            if known and found.config == config and _windows(found.spec) == _windows(spec):
                return found
        return None

    @classmethod
    def _all_shipped(cls, spec: ForecastSpec) -> list["Pretrained"]:
        """Those that miss least of what they were told first, and of those the ones that were told most.

        A site with a job schedule so finds weights that know schedules, and one without those that never saw any.
        """
        known = [cls.read(path.with_suffix(".safetensors")) for path in sorted(_FOLDER.glob("*.json"))]
        return sorted(known, key=lambda each: (len(set(each.spec.future) - set(spec.future)), -len(each.spec.future)))

    @classmethod
    def read(cls, path: Path) -> "Pretrained":
        """Open NAME.safetensors and the NAME.json beside it.

        Raises:
            ConfigError: one is missing, damaged, or of another version.
        """
        try:
            facts = json.loads(path.with_suffix(".json").read_text())
            content = path.read_bytes()
            if facts["format"] != FORMAT or facts["sha256"] != hashlib.sha256(content).hexdigest():
                raise ConfigError(f"training.start_from: {path} is not the file that its .json describes.")
            weights = safetensors.torch.load(content)
            spec = ForecastSpec.from_dict(facts["spec"])
            return cls(spec, _config(facts["model"]), tuple(facts["skus"]), weights, weights.pop(_OFFSETS), facts)
        except OSError as error:
            raise ConfigError(f"training.start_from: {error.filename} cannot be read ({error.strerror}).") from error
        except (SafetensorError, KeyError, TypeError, ValueError, AttributeError) as error:
            reason = " ".join(str(error).split())
            raise ConfigError(f"training.start_from: {path} is damaged ({type(error).__name__}: {reason}).") from error

    def write(self, path: Path) -> None:
        """Write NAME.safetensors and NAME.json; the same weights give the same bytes."""
        kept = {name: weight.detach().cpu().contiguous() for name, weight in self.weights.items()}
        content = safetensors.torch.save(kept | {_OFFSETS: self.offsets.cpu().contiguous()})
        facts = {
            "format": FORMAT,
            "sha256": hashlib.sha256(content).hexdigest(),
            "spec": self.spec.to_dict(),
            "model": {"name": type(self.config).__name__, **asdict(self.config)},
            "skus": list(self.skus),
            **self.facts,
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, lambda file: file.write(content))
        write_whole(path.with_suffix(".json"), lambda file: file.write((json.dumps(facts, indent=1) + "\n").encode()))

    def check(self, spec: ForecastSpec, named: str) -> None:
        """Refuse a site that it cannot forecast.

        Raises:
            ConfigError: naming what differs.
        """
        if _windows(self.spec) != _windows(spec):
            raise ConfigError(f"training.start_from={named} was trained for {_said(self.spec)}, not {_said(spec)}.")
        beyond = [name for name in spec.targets if name not in self.spec.targets]
        if beyond:
            raise ConfigError(
                f"training.start_from={named} forecasts {' and '.join(self.spec.targets)}, not {beyond[0]}."
            )

    def build(self, spec: ForecastSpec, skus: Sequence[str]) -> QuantileModel:
        """The model with its weights behind the interface `spec`, of a site with the SKUs `skus`.

        An SKU that it does not know has the weights of an unknown one, and can learn its own.

        Raises:
            ConfigError: the weights are not those of the model as this version builds it.
        """
        whole, own = replace(self.spec, quantile_levels=spec.quantile_levels), self.spec_for(spec)
        model = self.config.build(own, len(skus))
        rows = [0, *(self.skus.index(sku) + 1 if sku in self.skus else 0 for sku in skus)]
        weights = {name: self._fitted(name, weight, rows, whole) for name, weight in self.weights.items()}
        weights = narrowed(weights, whole, own)
        try:
            model.load_state_dict(weights)
        except RuntimeError as error:
            raise ConfigError(
                f"training.start_from: its weights are not those of {type(self.config).__name__} in this version, or "
                f"need the quantile levels {list(self.spec.quantile_levels)}."
            ) from error
        return adapted(model, own, spec).eval()

    def spec_for(self, spec: ForecastSpec) -> ForecastSpec:
        """What the model that `build` gives takes in and gives out, behind the interface `spec` of a site."""
        return narrowed_spec(self.config, replace(self.spec, quantile_levels=spec.quantile_levels), spec)

    def _fitted(self, name: str, weight: Tensor, rows: Sequence[int], own: ForecastSpec) -> Tensor:
        """A copy of one weight, with the SKUs at `rows` and the quantile levels of `own`."""
        if name.endswith(_PER_SKU):
            return weight[rows]
        return at_levels(weight, self.spec, own.quantile_levels) if name.endswith(PER_STEP) else weight.clone()

    def offsets_for(self, spec: ForecastSpec) -> Tensor:
        """Its calibration `[G, T, Q, H]` of the targets and levels of `spec`; linear between levels that it has."""
        kept = self.offsets[:, [self.spec.targets.index(name) for name in spec.targets]].numpy()
        moved = np.apply_along_axis(
            lambda known: np.interp(spec.quantile_levels, self.spec.quantile_levels, known), 2, kept
        )
        return torch.from_numpy(moved).to(torch.float32)


def _config(data: dict[str, Any]) -> ModelConfig:
    """Settings of a model by the name of their class."""
    settings = dict(data)
    return models()[settings.pop("name")](**settings)


def _windows(spec: ForecastSpec) -> tuple[int, int, int]:
    return spec.step_s, spec.context_steps, spec.horizon_steps


def _said(spec: ForecastSpec) -> str:
    return f"{spec.context_steps} → {spec.horizon_steps} steps of {spec.step_s} s"
