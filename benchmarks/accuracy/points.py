"""Task E, as its field scores it: MSE and MAE of one value per step, over all seven channels and every window.

Run as `python -m benchmarks.accuracy.points --sets ETTh1 --look-backs 96 --horizons 96,192`; without arguments, all of
them. Windows are counted to the last one: figures of a test loader that drops its last batch cannot be compared with
these. On the test range it records what it found, beside what others published; `--range validation` prints only.
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np

from benchmarks.accuracy import ett, leaderboard
from benchmarks.accuracy.methods import OURS
from benchmarks.accuracy.ours import replayed, speed, trained
from benchmarks.accuracy.peers.linear import Linear
from benchmarks.accuracy.tasks import Range, configured
from forecast.features.gridded import Floats
from forecast.retrain.prepare import prepare
from forecast.retrain.stages import Stages
from forecast.wording import some_of

_RAW = Path("../shared/data/ett")
_BENCH = Path("var/bench")

#: What the field fixes, and what is best for us on the validation range, per set.
FIXED = 96
FREE = {"ETTh1": 512, "ETTm1": 672}
HORIZONS = (96, 192, 336, 720)

#: What `--models` takes.
NAMES = ("fleetcast", "naive", "linear")

#: Every step is decoded up to here, or the hours of a day would be interpolated away; beyond, some of them.
_DECODED = 336

#: Windows that are scored at once: their forecasts fit the memory.
_CHUNK = 512


@dataclass(frozen=True)
class Cut:
    """A set at one look-back and horizon, on one range.

    Attributes:
        ett: the set.
        look_back, horizon: steps.
        part: the range.
    """

    ett: ett.Ett
    look_back: int
    horizon: int
    part: Range

    @property
    def origins(self) -> np.ndarray:
        """The first step of every forecast whose horizon lies in the range."""
        train, validation, test = self.ett.ends
        first, end = (validation, test) if self.part == "test" else (train, validation)
        return np.arange(first, end - self.horizon + 1)


@dataclass
class Errors:
    """Sums of errors over windows, channels and steps."""

    squared: float = 0.0
    absolute: float = 0.0
    count: int = 0

    def add(self, forecast: Floats, truth: Floats) -> None:
        """Both `[N, H]`, or of any other shape."""
        error = (forecast - truth).astype(np.float64)
        self.squared += float((error * error).sum())
        self.absolute += float(np.abs(error).sum())
        self.count += error.size

    @property
    def mse(self) -> float:
        return self.squared / self.count

    @property
    def mae(self) -> float:
        return self.absolute / self.count


#: Forecasts in z-scores `[n, N, H]` of the origins `[n]`, some at a time.
Told = Iterator[tuple[np.ndarray, Floats]]


@dataclass(frozen=True)
class Answer:
    """A method's forecasts, and their cost.

    Attributes:
        told: in z-scores.
        look_back: steps, those that it looks at.
        train_s: processor seconds of fitting.
        series_per_s: windows of a channel per second on one core; None where scoring them takes as long.
        parameters: None where that means nothing.
    """

    told: Told
    look_back: int
    train_s: float
    series_per_s: float | None = None
    parameters: int | None = None


def main() -> None:
    """Run, print, and on the test range record."""
    chosen = _arguments()
    for name in chosen.sets:
        run(
            ett.SETS[name],
            chosen.look_backs or look_backs(ett.SETS[name]),
            chosen.horizons,
            chosen.models,
            chosen.range,
            chosen.seeds,
        )


def look_backs(found: ett.Ett) -> tuple[int, ...]:
    """The one that the field fixes, and the one that is best for us."""
    return FIXED, FREE[found.name]


def run(
    found: ett.Ett, backs: tuple[int, ...], horizons: tuple[int, ...], models: list[str], part: Range, seeds: int
) -> None:
    """Every cut of a set; on the test range each is recorded as soon as it is done."""
    z = ett.truth(found, _RAW)
    for look_back in backs:
        for horizon in horizons:
            cut = Cut(found, look_back, horizon, part)
            rows = [row for model in models for row in rows_of(cut, z, model, seeds)]
            print(leaderboard.points_markdown(rows))
            if part == "test":
                leaderboard.write_points(rows)


def rows_of(cut: Cut, z: Floats, model: str, seeds: int = 1) -> list[dict[str, Any]]:
    """A row per method that `model` stands for; ours has the mean over its seeds."""
    if model == "fleetcast":
        return [_mean([_scored(cut, z, OURS, fleetcast(cut, seed)) for seed in range(seeds)])]
    return [_scored(cut, z, name, answer(cut, z)) for name, answer in _METHODS[model].items()]


def _mean(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """One row of several seeds."""
    means = {name: float(np.mean([row[name] for row in rows])) for name in ("mse", "mae", "train_s", "series_per_s")}
    return {**rows[0], **means, "seeds": len(rows), "mse_by_seed": [row["mse"] for row in rows]}


def mean_of(quantiles: Floats, levels: tuple[float, ...]) -> Floats:
    """The mean of a distribution from its quantiles: the integral of the quantile function over the level.

    Between two levels it is taken to be straight, and beyond the outermost to be level.

    Args:
        quantiles: `[..., Q, H]`.
        levels: `[Q]`, ascending.
    """
    edges = np.array([0.0, *levels, 1.0], np.float32)
    widths = np.diff(edges)
    weights = np.zeros(len(levels), np.float32)
    weights[0], weights[-1] = widths[0], widths[-1]
    weights[:-1] += widths[1:-1] / 2
    weights[1:] += widths[1:-1] / 2
    mean: Floats = np.einsum("...qh,q->...h", quantiles, weights)
    return mean


def fleetcast(cut: Cut, seed: int) -> Answer:
    """The mean of Fleetcast's distribution, made by the predictor that serves."""
    folder = _BENCH / "ett" / cut.ett.name
    ett.write(cut.ett, _RAW, folder)
    config = configured(settings(cut, folder))
    prepared = prepare(config, Stages(2))
    run = trained(replace(config, seed=seed), prepared, _BENCH / "fleetcast")
    levels = run.predictor.spec.quantile_levels
    answers = replayed(run.predictor, prepared.panel, cut.origins)
    told = ((np.array([origin]), ett.to_z(mean_of(quantiles[:, 0], levels))[None]) for origin, quantiles in answers)
    series_per_s = speed(run.predictor, prepared, cut.origins)
    return Answer(told, cut.look_back, run.train_s, series_per_s, run.parameters)


def settings(cut: Cut, folder: Path) -> list[str]:
    """Overrides of the committed configuration, for telemetry that `ett.write` left in `folder`."""
    return [
        "source=ett",
        f"source.path={folder / 'telemetry.parquet'}",
        f"source.topology={folder / 'topology.parquet'}",
        f"window.step_s={cut.ett.step_s}",
        f"window.context_steps={cut.look_back}",
        f"window.horizon_steps={cut.horizon}",
        f"model.points={min(cut.horizon, _DECODED)}",
    ]


def linear(cut: Cut, z: Floats) -> Answer:
    """Least squares from the look-back to the horizon, the window's mean taken out."""
    model, begin = Linear(cut.look_back, cut.horizon), process_time()
    model.fit(z[:, : cut.ett.ends[0]])
    train_s, told = process_time() - begin, _in_chunks(cut, z, cut.look_back, model.forecast)
    return Answer(told, cut.look_back, train_s, parameters=model.weights.size + cut.horizon)


def repeat(cut: Cut, z: Floats) -> Answer:
    """The last value."""
    return Answer(_in_chunks(cut, z, 1, lambda past: np.repeat(past, cut.horizon, axis=-1)), 1, 0.0)


def seasonal(cut: Cut, z: Floats) -> Answer:
    """The last day."""
    days = -(-cut.horizon // cut.ett.day)
    tiled = _in_chunks(cut, z, cut.ett.day, lambda past: np.tile(past, days)[..., : cut.horizon])
    return Answer(tiled, cut.ett.day, 0.0)


_METHODS: dict[str, dict[str, Callable[[Cut, Floats], Answer]]] = {
    "naive": {"last value": repeat, "last day": seasonal},
    "linear": {"least squares": linear},
}


def _in_chunks(cut: Cut, z: Floats, length: int, forecast: Callable[[Floats], Floats]) -> Told:
    """`forecast` of contexts `[n, N, length]`, chunk by chunk."""
    for begin in range(0, len(cut.origins), _CHUNK):
        origins = cut.origins[begin : begin + _CHUNK]
        yield origins, forecast(_windows(z, origins - length, length))


def _windows(z: Floats, first: np.ndarray, length: int) -> Floats:
    """`[n, N, length]` from `z [N, steps]`, each beginning at `first`."""
    windows: Floats = np.lib.stride_tricks.sliding_window_view(z, length, axis=1)[:, first].transpose(1, 0, 2)
    return windows


def _scored(cut: Cut, z: Floats, name: str, answer: Answer) -> dict[str, Any]:
    errors, begin = Errors(), process_time()
    for origins, forecast in answer.told:
        errors.add(forecast, _windows(z, origins, cut.horizon))
    seconds = process_time() - begin
    return {
        "set": cut.ett.name,
        "method": name,
        "look_back": str(answer.look_back),
        "horizon": cut.horizon,
        "mse": errors.mse,
        "mae": errors.mae,
        "windows": len(cut.origins),
        "train_s": answer.train_s,
        "series_per_s": answer.series_per_s or len(cut.origins) * len(z) / seconds,
        "parameters": answer.parameters,
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy.points", description=__doc__)
    parser.add_argument("--sets", type=some_of(ett.SETS), default=list(ett.SETS), help=f"of {','.join(ett.SETS)}")
    parser.add_argument("--look-backs", type=_steps, default=None, help=f"in steps; {FIXED} and the best by default")
    parser.add_argument("--horizons", type=_steps, default=HORIZONS, help="in steps")
    parser.add_argument("--models", type=some_of(NAMES), default=list(NAMES), help=f"of {','.join(NAMES)}")
    parser.add_argument("--range", choices=("test", "validation"), default="test")
    parser.add_argument("--seeds", type=int, default=3, help="of Fleetcast")
    return parser.parse_args()


def _steps(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


if __name__ == "__main__":
    main()
