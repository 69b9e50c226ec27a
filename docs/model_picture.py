"""Draws docs/model.png: `python docs/model_picture.py`, from the root of a checkout that has the BioHPC telemetry.

A server's last days, and the distribution that the model tells of the next two, cell by cell.
"""

from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import torch

from forecast.models.base import CdfModel
from forecast.retrain.learn import Learner
from forecast.retrain.prepare import prepare
from forecast.retrain.pretrain import composed
from forecast.retrain.stages import Stages

_BEHIND_H, _EVENLY = 96, 120


def main() -> None:
    """Train on the servers, choose a busy window of the validation range, draw."""
    config = composed("source=biohpc")
    learner = Learner.of(config, prepare(config, Stages(2)))
    learner.train_model(config, lambda *_: None)
    pairs = learner.validation[:: max(len(learner.validation) // 500, 1)]
    batch = learner.windows.batch(pairs[:, 0], pairs[:, 1])
    swing = batch.past[:, 0, -24:].nan_to_num().std(1)
    window = type(batch)(*(part[swing.argsort()[-20]][None] for part in batch))
    assert isinstance(learner.model, CdfModel)  # noqa: S101
    with torch.no_grad():
        cdf = learner.model.scored(window.past, window.future, window.static).cdf
        median = learner.model(window.past, window.future, window.static)[0, 0, len(config.window.quantile_levels) // 2]
    values = ((cdf.values * cdf.unit)[0, 0]).numpy()
    below = np.vstack([np.zeros(cdf.masses.shape[-1]), cdf.masses[0, 0].cumsum(0).numpy()])
    evenly = np.linspace(values[0], values[-1], _EVENLY)
    density = np.diff(np.stack([np.interp(evenly, values, column) for column in below.T], 1), axis=0)
    _draw(window.past[0, 0, -_BEHIND_H:].numpy(), evenly, density, learner.model.steps, median, window.target[0, 0])


def _draw(
    past: np.ndarray, evenly: np.ndarray, density: np.ndarray, steps: list[int], median: object, came: object
) -> None:
    figure, axes = plt.subplots(figsize=(10, 3.6), layout="constrained")
    image = axes.pcolormesh([*steps, steps[-1] + 1], evenly, np.sqrt(density), cmap="Blues")
    axes.plot(np.arange(-len(past), 0) + 0.5, past, color="black", lw=1, label="observed")
    axes.plot(np.arange(len(np.asarray(came))) + 0.5, np.asarray(came), color="tab:red", lw=1, label="what came")
    axes.plot(
        np.arange(len(np.asarray(median))) + 0.5, np.asarray(median), color="tab:blue", lw=1, ls="--", label="median"
    )
    axes.axvline(0, color="grey", lw=0.5)
    axes.set(xlabel="hours from the forecast time", ylabel="power of a GPU, W")
    axes.legend(loc="center left", frameon=False)
    figure.colorbar(image, label="probability (√)", ticks=[])
    figure.savefig(Path(__file__).with_name("model.png"), dpi=110)


if __name__ == "__main__":
    main()
