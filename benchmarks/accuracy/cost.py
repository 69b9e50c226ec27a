"""What a forecast costs beside the best network's, both taken in turns in one run on one core.

Run as `python -m benchmarks.accuracy.cost --tasks A,B` after `benchmarks.accuracy`, whose record says which network is
best; it writes what it finds into that record, `--range validation` prints only. The speeds in the tables were taken
whenever each method ran, and this machine's own speed wanders by more than what is asked for.

Both sides begin with arrays in memory and end with quantiles that never cross, in units, each in calls of the size that
suits it: ours the graph of the bundle, theirs the network with its scaling, given the very batches that its library
would give it. Neither cuts windows, fills tables or loads batches. How long the library takes with all that is told
too. The network has learnt for one step: what it costs lies in its shape, not in its weights.
"""

import argparse
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.accuracy import leaderboard
from benchmarks.accuracy.methods import NEURAL, peers
from benchmarks.accuracy.ours import inputs_of, trained
from benchmarks.accuracy.peers.neural import Neural
from benchmarks.accuracy.tasks import TASKS, Asked, Task, load
from benchmarks.machine import in_turns
from forecast.features.gridded import Floats
from forecast.wording import some_of

_BENCH = Path("var/bench")

#: Windows of a round, spread over those that are scored.
_WINDOWS = 1024

_ROUNDS = 15

#: Windows of a call, of which a network gets what suits it best.
_SIZES = (32, 64, 128, 256, 512)


class Networks(Neural):
    """The networks of `peer`, hardly trained, without what their library does around them."""

    def __init__(self, peer: Neural) -> None:
        super().__init__(peer.name, **{**peer.settings, "steps": (1,) * len(peer.steps)})

    def take(self, asked: Asked) -> None:
        """Keep the batches `[series, channels, steps]` that the library makes of what is asked."""
        self._taken: list[list[dict[str, Any]]] = []
        for fitted in self._fitted:
            network, batches = fitted.models[0], list[dict[str, Any]]()
            step = network.predict_step
            network.predict_step = partial(_kept, step, batches)
            self._taken.append(batches)
        self.forecast(asked)
        for fitted in self._fitted:
            network = fitted.models[0].eval()  # as it is while the library forecasts, and so is the horizon below
            del network.predict_step
            network.set_test_size(self._spec.horizon_steps)

    def tell(self, size: int) -> Floats:
        """Quantiles `[M, T, H, Q]` of what was taken, `size` windows at a time."""
        with torch.inference_mode():
            targets = zip(self._fitted, self._taken, strict=True)
            return np.stack([_told(fitted.models[0], batches, size) for fitted, batches in targets], axis=1)


def _kept(step: Callable[..., Any], batches: list[dict[str, Any]], batch: dict[str, Any], batch_idx: int) -> Any:
    batches.append(batch)
    return step(batch, batch_idx)


def _told(network: Any, batches: list[dict[str, Any]], size: int) -> Floats:
    series = torch.cat([batch["temporal"] for batch in batches])
    told = [network.predict_step({**batches[0], "temporal": part}, 0) for part in series.split(size)]
    return np.sort(torch.cat(told).squeeze(2).numpy(), axis=2)


def main() -> None:
    """Measure, print, and on the test range record."""
    chosen = _arguments()
    torch.set_num_threads(1)
    for name in chosen.tasks:
        best = leaderboard.best_networks(name)
        task = load(name, chosen.range)
        costs = {peer.name: beside(task, peer) for peer in _networks(name) if peer.name in best}
        print(name, costs)
        if chosen.range == "test":
            leaderboard.write_costs(name, costs)


def beside(task: Task, peer: Neural) -> dict[str, float]:
    """Seconds of a Fleetcast forecast over those of `peer`: of its `network`, and of that with its `library`."""
    asked = _some(task.asked)
    predictor = trained(replace(task.config, seed=0), task.prepared, _BENCH / "fleetcast").predictor
    inputs = inputs_of(predictor, task.prepared, asked.entity, asked.origin)
    networks = Networks(peer)
    networks.fit(task.history)
    networks.take(asked)
    sizes = [partial(networks.tell, size) for size in _SIZES]
    best = sizes[int(in_turns(sizes, 3).min(0).argmin())]
    ours, alone, whole = in_turns(
        [partial(predictor.bundle.session.run, inputs), best, partial(networks.forecast, asked)], _ROUNDS
    ).T
    return {"network": float(np.median(ours / alone)), "library": float(np.median(ours / whole))}


def _some(asked: Asked) -> Asked:
    rows = np.linspace(0, len(asked.entity) - 1, min(_WINDOWS, len(asked.entity))).astype(int)
    return Asked(asked.entity[rows], asked.origin[rows], asked.past[rows], asked.told[rows])


def _networks(task: str) -> list[Neural]:
    made = [make() for name in NEURAL for make in peers(task, name.lower())]
    return [peer for peer in made if isinstance(peer, Neural)]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy.cost", description=__doc__)
    parser.add_argument("--tasks", type=some_of(TASKS), default=list(TASKS), help=f"of {','.join(TASKS)}")
    parser.add_argument("--range", choices=("test", "validation"), default="test", help="whose windows are forecast")
    return parser.parse_args()


if __name__ == "__main__":
    main()
