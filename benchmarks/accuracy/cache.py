"""Forecasts kept by the content of what they were made from: data, windows, settings, libraries and code."""

import hashlib
import inspect
import json
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from time import process_time
from types import ModuleType

import numpy as np

from benchmarks.accuracy.peers import peer as base
from benchmarks.accuracy.peers.peer import Peer
from benchmarks.accuracy.tasks import LEVELS, Asked, History
from forecast.contracts.version import key_of
from forecast.features.gridded import Floats


@dataclass(frozen=True, eq=False)
class Result:
    """A method's answers and what they cost.

    Attributes:
        quantiles: `[M, T, Q, H]` at `LEVELS`.
        train_s: processor seconds of fitting: other work on the machine does not count.
        series_per_s: windows forecast in a second on one core.
        parameters: None where that means nothing.
    """

    quantiles: Floats
    train_s: float
    series_per_s: float
    parameters: int | None


def answered(peer: Peer, history: History, asked: Asked, folder: Path) -> Result:
    """The peer's forecasts: found in `folder`, or made and kept there."""
    path = folder / f"{key(peer, history, asked)}.npz"
    if path.exists():
        return read(path)
    result = _made(peer, history, asked)
    write(path, result)
    return result


def key(peer: Peer, history: History, asked: Asked) -> str:
    """What a peer's forecasts are kept under."""
    spec = history.spec
    code = [inspect.getsource(module) for module in {base, *_modules(peer)}]
    return key_of(
        peer.name,
        dict(peer.settings),
        {name: version(name) for name in peer.libraries},
        sorted(hashlib.sha256(text.encode()).hexdigest() for text in code),
        [spec.step_s, spec.context_steps, spec.horizon_steps, spec.targets, spec.past],
        [history.start, history.clock_offset_h, history.entities, history.seasons_h, LEVELS],
        [_digest(array) for array in (history.values, history.end, asked.entity, asked.origin, asked.past)],
        *([history.told, _digest(asked.told)] if history.told else []),
    )


def _modules(peer: Peer) -> list[ModuleType]:
    """The module of a peer, and those of its room that it imports."""
    own = sys.modules[type(peer).__module__]
    room = base.__name__.rpartition(".")[0]
    return [own, *(part for part in vars(own).values() if inspect.ismodule(part) and part.__name__.startswith(room))]


def read(path: Path) -> Result:
    """A result as `write` left it."""
    with np.load(path, allow_pickle=False) as kept:
        cost = json.loads(str(kept["cost"]))
        return Result(kept["quantiles"], **cost)


def write(path: Path, result: Result) -> None:
    """Keep a result; one that is cut short is never taken for whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cost = {"train_s": result.train_s, "series_per_s": result.series_per_s, "parameters": result.parameters}
    part = path.with_suffix(".part.npz")
    np.savez(part, quantiles=result.quantiles, cost=np.array(json.dumps(cost)))
    part.rename(path)


def _made(peer: Peer, history: History, asked: Asked) -> Result:
    begin = process_time()
    parameters = peer.fit(history)
    train_s = process_time() - begin
    begin = process_time()
    quantiles = peer.forecast(asked)
    seconds = process_time() - begin
    return Result(quantiles, train_s, len(asked.entity) / seconds, parameters)


def _digest(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
