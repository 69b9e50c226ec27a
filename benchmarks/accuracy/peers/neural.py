"""NHITS, PatchTST and TiDE as neuralforecast has them, with its multi-quantile loss: a model per target.

They are told the target, and what the task tells ahead; PatchTST cannot be told. A gap longer than six hours is not
filled: a series ends there, and another begins.
"""

import logging
import warnings
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from neuralforecast import NeuralForecast
from neuralforecast.losses.pytorch import MQLoss
from neuralforecast.models import NHITS, PatchTST, TiDE

from benchmarks.accuracy.peers.peer import Peer, filled
from benchmarks.accuracy.tasks import LEVELS, Asked, History
from forecast.features.gridded import Floats

_MODELS = {"NHITS": NHITS, "PatchTST": PatchTST, "TiDE": TiDE}
_LONGEST_GAP_S = 6 * 3600

#: Windows that are asked for at once.
_CHUNK = 128


class Neural(Peer):
    """A network of neuralforecast.

    Args:
        name: NHITS, PatchTST or TiDE.
        context_steps: steps it looks back.
        steps: optimiser steps, per target.
        seed: of weights and windows.
        more: settings of the network that differ from the library's.
    """

    libraries: ClassVar[tuple[str, ...]] = ("neuralforecast", "torch", "numpy")

    def __init__(self, name: str, context_steps: int, steps: tuple[int, ...], seed: int = 1, **more: Any) -> None:
        self.name, self.context_steps, self.steps, self.seed, self.more = name, context_steps, steps, seed, more

    @property
    def settings(self) -> Mapping[str, Any]:
        return {"context_steps": self.context_steps, "steps": self.steps, "seed": self.seed, **self.more}

    def fit(self, history: History) -> int:
        self._spec, self._told = history.spec, history.told
        self._names = [history.spec.past[channel] for channel in history.told]
        self._fitted = [
            self._trained(_series(history, target, self.context_steps), steps)
            for target, steps in zip(range(len(history.spec.targets)), self.steps, strict=True)
        ]
        return sum(weight.numel() for fitted in self._fitted for weight in fitted.models[0].parameters())

    def forecast(self, asked: Asked) -> Floats:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # its speed is told for one core
        try:
            answers = [self._answers(fitted, asked, at) for at, fitted in enumerate(self._fitted)]
        finally:
            torch.set_num_threads(threads)
        return np.stack(answers, axis=1)

    def _trained(self, series: pd.DataFrame, steps: int) -> NeuralForecast:
        settings = {"learning_rate": 1e-3, "random_seed": self.seed, "loss": MQLoss(quantiles=list(LEVELS))} | self.more
        if self._names:
            settings["futr_exog_list"] = self._names
        quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
        with _quiet():
            model = _MODELS[self.name](
                h=self._spec.horizon_steps,
                input_size=self.context_steps,
                max_steps=steps,
                accelerator="cpu",
                enable_checkpointing=False,
                **settings,
                **quiet,
            )
            fitted = NeuralForecast(models=[model], freq=1)
            fitted.fit(series)
        return fitted

    def _answers(self, fitted: NeuralForecast, asked: Asked, target: int) -> Floats:
        """Quantiles `[M, Q, H]` of a target, each context a series of its own."""
        length = self.context_steps
        recent = filled(asked.past[:, [target, *self._told], -length:])
        ahead = filled(asked.told)
        found = []
        for begin in range(0, len(recent), _CHUNK):
            rows = recent[begin : begin + _CHUNK]
            table = _table(rows, ["y", *self._names], 0)
            more = {"futr_df": _table(ahead[begin : begin + _CHUNK], self._names, length)} if self._names else {}
            with _quiet():
                told = fitted.predict(df=table, **more).sort_values(["unique_id", "ds"])
            values = told.drop(columns=["unique_id", "ds"]).to_numpy(np.float32)
            found.append(np.sort(values.reshape(len(rows), -1, len(LEVELS)), axis=2).transpose(0, 2, 1))
        return np.concatenate(found)


def _table(rows: Floats, names: list[str], first: int) -> pd.DataFrame:
    """Series `[M, channels, steps]` as neuralforecast takes them, the first step numbered `first`."""
    count, _, steps = rows.shape
    index = {"unique_id": np.repeat(np.arange(count), steps), "ds": np.tile(np.arange(first, first + steps), count)}
    return pd.DataFrame(index | {name: rows[:, at].ravel() for at, name in enumerate(names)})


def _series(history: History, target: int, context_steps: int) -> pd.DataFrame:
    """What is to be learnt from, as neuralforecast takes it: `unique_id`, `ds`, `y` and what is told ahead."""
    shortest = context_steps + history.spec.horizon_steps
    channels, names = [target, *history.told], ["y", *(history.spec.past[channel] for channel in history.told)]
    pieces = [
        values
        for entity, end in enumerate(history.end)
        for values in _pieces(history.values[channels, entity, :end], _LONGEST_GAP_S // history.spec.step_s)
        if values.shape[1] >= shortest
    ]
    tables = [_table(piece[None], names, 0).assign(unique_id=at) for at, piece in enumerate(pieces)]
    return pd.concat(tables, ignore_index=True)


def _pieces(values: Floats, longest_gap: int) -> list[Floats]:
    """Channels cut where the first misses more than `longest_gap` steps; shorter gaps hold the value before them."""
    seen = np.flatnonzero(~np.isnan(values[0]))
    breaks = np.flatnonzero(np.diff(seen) > longest_gap + 1) + 1
    return [filled(values[:, part[0] : part[-1] + 1]) for part in np.split(seen, breaks) if len(part)]


class _quiet(warnings.catch_warnings):  # noqa: N801 - reads as a statement
    """The library's tips and banners stay out of the table."""

    def __enter__(self) -> None:
        super().__enter__()
        warnings.filterwarnings("ignore")
        for name in ("lightning.pytorch", "pytorch_lightning", "lightning_fabric", "lightning.fabric"):
            logging.getLogger(name).setLevel(logging.ERROR)
