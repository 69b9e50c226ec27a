"""The folder that a run of the job works in, as it was before, and what must be true of it whatever happens."""

import hashlib
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from hand_made import SPEC, make_bundle
from system_calls import Operation

from forecast.bundle.load import load
from forecast.contracts.errors import FleetcastError
from forecast.registry.publish import publish_bundle
from forecast.registry.store import Registry
from forecast.registry.verify import file_problems, registry_problems
from forecast.retrain.config import WindowConfig

NAME = "smoke"
REGISTRY = f"registry/{NAME}/"
STAGING = f"{REGISTRY}.staging-*"
#: In service before the run: one more than is kept, so that publishing also deletes.
EARLIER = ("eldest", "champion")
KEEP = 2

ARGUMENTS = (
    "experiment=smoke",
    "model=linear",
    "window.targets=[power_w]",
    "window.past=[power_w]",
    "source.path=fleet",
    "source.fleet.days=10",
    "source.until=2026-01-21",
    "cache=cache",
    "registry.root=registry",
    f"registry.keep={KEEP}",
    "metrics_file=metrics/job.prom",
    "log=json",
    "hydra.run.dir=runs/${now:%Y-%m-%dT%H-%M-%S-%f}",
)

#: What differs from run to run in names of files.
_VARIABLE = (
    (re.compile(r"[0-9a-f]{32}"), "*"),
    (re.compile(r"[0-9a-f]{16}"), "KEY"),
    (re.compile(r"\d{4}-\d\d-\d\dT[\d-]+"), "RUN"),
    (re.compile(r"\d{4}-\d\d-\d\d"), "DAY"),
    (re.compile(r"\.\d+\.(part|staging)"), r".PID.\1"),
)


class Place(NamedTuple):
    """Where a fault can strike: what is done, to which kind of file."""

    name: str
    role: str

    @classmethod
    def of(cls, operation: Operation) -> "Place":
        role = f"{operation.path} → {operation.to}" if operation.name in {"rename", "link"} else operation.path
        for variable, constant in _VARIABLE:
            role = variable.sub(constant, role)
        return cls(operation.name, role)


def furnish(folder: Path) -> None:
    """Lay out a folder where nothing was simulated yet, and two poor versions were published."""
    (folder / "metrics").mkdir(parents=True)
    spec = replace(
        SPEC, step_s=3600, horizon_steps=12, quantile_levels=tuple(WindowConfig().quantile_levels), context_steps=48
    )
    registry = Registry(folder / "registry", NAME, KEEP)
    for key in EARLIER:
        # Of a site without limits: that none is passed would be the one thing that they tell well.
        levels = np.linspace(1e7, 2e7, len(spec.quantile_levels))
        made = make_bundle(folder / key, key, levels, limit_w=np.nan, spec=spec)
        with registry.lock():
            publish_bundle(registry, load(made), {"passed": True, "reason": "made by hand"})
        shutil.rmtree(made)


class Expected(NamedTuple):
    """What a run that nothing befell published: its key, and the hashes of what is served."""

    key: str
    files: dict[str, str]

    @classmethod
    def of(cls, folder: Path) -> "Expected":
        manifest = load(folder / "registry" / NAME / "current").manifest
        return cls(manifest.bundle_id, {name: manifest.files[name] for name in ("model.onnx", "golden.npz")})


def service_problems(folder: Path, expected: Expected | None = None) -> Iterator[str]:
    """Say what a server would stumble over now: `current` must be a whole version, the old one or the new."""
    current = folder / "registry" / NAME / "current"
    try:
        key = load(current).manifest.bundle_id
    except (FleetcastError, OSError) as error:
        yield f"in service: {error}"
        return
    if key != EARLIER[-1] and expected is not None and key != expected.key:
        yield f"in service: {key}, which is neither the old version nor the new"


def convergence_problems(folder: Path, expected: Expected) -> Iterator[str]:
    """Say what the next run should have put right."""
    registry = Registry(folder / "registry", NAME, KEEP)
    yield from service_problems(folder)
    yield from registry_problems(registry)
    current, previous = registry.current(), registry.previous()
    if current is not None:
        yield from file_problems(current)
    if current is None or current.name != expected.key:
        yield f"converged to {current and current.name}, not to {expected.key}"
    elif any(_digest(current / name) != digest for name, digest in expected.files.items()):
        yield "converged to the key with other content"
    champion = registry.folder / "versions" / EARLIER[-1]
    if champion.is_dir() and previous != champion:
        yield f"previous is {previous and previous.name}, not {EARLIER[-1]}"
    if len(registry.versions()) > KEEP:
        yield f"{len(registry.versions())} versions are kept, not {KEEP}"
    for left in (*folder.glob(STAGING), *folder.glob(".*.staging"), *folder.glob("cache/**/*.part")):
        yield f"left behind: {left.relative_to(folder)}"


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
