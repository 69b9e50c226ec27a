"""What loads and temperatures usually were in training, by kind of entity: what is left to say of one never heard of.

`usual.json` in a bundle: target to kind (a level of the tree, and level/SKU) to quantiles at the levels of the
forecast, as shares of the entity's own limit.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from forecast.bundle.load import Bundle, verified
from forecast.contracts.errors import BundleError
from forecast.contracts.signals import TARGETS
from forecast.contracts.specs import ForecastSpec
from forecast.contracts.topology import Topology
from forecast.windows.panel import Panel

USUAL = "usual.json"

#: Target to kind to shares `[Q]`.
Usual = Mapping[str, Mapping[str, Sequence[float]]]

#: Steps that are looked at, evenly spaced over the training range, and how often a kind must have been seen.
_STEPS, _LEAST_SEEN = 500, 100


def usual(panel: Panel, topology: Topology, spec: ForecastSpec, ends: NDArray[np.int64]) -> Usual:
    """Quantiles of each target of each kind in training; kinds without limits, or hardly seen, are left out.

    Args:
        panel: entities as the topology's; channels begin with the targets.
        topology, spec: of the forecast.
        ends: `[N]`, step at which each entity's training ends.
    """
    steps = np.unique(np.linspace(0, max(int(ends.max()) - 1, 0), _STEPS).astype(np.int64))
    read = [panel.read(step, step + 1)[: len(spec.targets), :, 0] for step in steps.tolist()]
    seen = np.where(steps < ends[:, None], np.stack(read, axis=-1), np.nan)
    kinds: dict[str, list[int]] = {}
    for place, (level, sku) in enumerate(topology.table.select("level", "sku").iter_rows()):
        for kind in (level, f"{level}/{sku}"):
            kinds.setdefault(kind, []).append(place)
    told: dict[str, dict[str, list[float]]] = {}
    for values, name in zip(seen, spec.targets, strict=True):
        limit = topology.table[TARGETS[name].limit].cast(pl.Float64).fill_null(float("nan")).to_numpy()
        shares = values / limit[:, None]
        told[name] = {}
        for kind, places in kinds.items():
            known = shares[places][~np.isnan(shares[places])]
            if known.size >= _LEAST_SEEN:
                told[name][kind] = np.quantile(known, spec.quantile_levels).round(6).tolist()
    return told


def write_usual(folder: Path, told: Usual) -> None:
    """Keep it in a bundle in the making."""
    (folder / USUAL).write_text(json.dumps(told, indent=1))


def read_usual(bundle: Bundle) -> Usual:
    """What a bundle says is usual; nothing where it has no such file, as older ones do not.

    Raises:
        BundleError: the file is not what was published, or not of its form.
    """
    files, spec = bundle.manifest.files, bundle.manifest.spec
    if USUAL not in files:
        return {}
    try:
        told = json.loads(verified(bundle.folder, USUAL, files[USUAL]))
        for name, kinds in told.items():
            shares = np.array(list(kinds.values()), np.float64).reshape(-1, len(spec.quantile_levels))
            if name not in spec.targets or not np.isfinite(shares).all() or (np.diff(shares, axis=1) < 0).any():
                raise ValueError(f"{name} is no target, or its quantiles are not finite or cross")
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise BundleError(f"{bundle.folder / USUAL}: not quantiles of its targets ({error}).") from error
    return dict(told)
