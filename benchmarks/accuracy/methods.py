"""Which peers run on which task, at which settings.

Networks: the settings of the project's evaluation page. LightGBM: 200 trees at 0.06 per quantile, the step ahead as a
feature, as there; what that leaves open (the size of a tree, what is subtracted from the target) is the best of a
handful on the validation range, and so are the networks' scaling where loads are 10⁵ W and more, and the form of
AutoETS. Nothing here was chosen on a test range.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks.accuracy.peers.naive import Naive
from benchmarks.accuracy.peers.peer import Peer
from benchmarks.accuracy.peers.pooled import PooledPersistence
from benchmarks.accuracy.tasks import TASKS

OURS = "Fleetcast"

#: What `--models` takes.
NAMES = ("fleetcast", "naive", "ets", "lightgbm", "nhits", "patchtst", "tide")

#: Those that are networks: what a forecast's cost is told beside.
NEURAL = ("NHITS", "PatchTST", "TiDE")

#: What a reader of a task's table has to know.
NOTES = {
    "D": "TiDE and PatchTST learn from 256 windows a step: the library's 1,024 take a core longer than 25 minutes."
}

#: The mean of whose quantiles is a method too: as the evaluation page has it, chosen before any run here.
ENSEMBLES = {
    "A": ("LightGBM", "PatchTST", "TiDE"),
    "B": ("LightGBM", "PatchTST", "TiDE"),
    "C": ("LightGBM", "NHITS"),
    "Cb": ("LightGBM", "NHITS"),
    "D": ("LightGBM", "seasonal naive, 168 h", "NHITS"),
}

_HOURLY = {"origin_stride": 3, "anchor": "last", "leaves": 15, "in_leaf": 1000, "features_share": 0.5}
_FLEET = {"leaves": 15, "in_leaf": 300, "features_share": 0.5}
_FINE = {"origin_stride": 3, "anchor": "last", "leaves": 7, "in_leaf": 3000, "features_share": 0.5}
_RUNS = {"anchor": "last", "leaves": 7, "in_leaf": 1000, "features_share": 0.5, "strangers": True}
_LIGHTGBM: dict[str, dict[str, Any]] = {"A": _HOURLY, "B": _FINE, "C": _RUNS, "Cb": _RUNS, "D": _FLEET}

_NEURAL: dict[str, dict[str, dict[str, Any]]] = {
    "nhits": {
        "A": {"context_steps": 336, "steps": (100, 100)},
        "B": {"context_steps": 576, "steps": (100,), "scaler_type": "standard"},
        "C": {"context_steps": 40, "steps": (100,), "scaler_type": "standard"},
        "Cb": {"context_steps": 40, "steps": (400,), "scaler_type": "standard"},
        "D": {"context_steps": 2016, "steps": (100,), "scaler_type": "standard"},
    },
    "patchtst": {
        "A": {"context_steps": 336, "steps": (100, 300), "patch_len": 24, "stride": 24, "hidden_size": 128},
        "B": {"context_steps": 576, "steps": (100,), "patch_len": 24, "stride": 24, "hidden_size": 128},
        "C": {"context_steps": 40, "steps": (100,), "patch_len": 8, "stride": 8, "hidden_size": 128},
        "D": {
            "context_steps": 2016,
            "steps": (100,),
            "patch_len": 24,
            "stride": 24,
            "hidden_size": 128,
            "windows_batch_size": 256,
        },
    },
    "tide": {
        "A": {"context_steps": 336, "steps": (600, 600), "hidden_size": 256},
        "B": {"context_steps": 576, "steps": (600,), "hidden_size": 256, "scaler_type": "standard"},
        "C": {"context_steps": 40, "steps": (600,), "hidden_size": 256, "scaler_type": "standard"},
        "Cb": {"context_steps": 40, "steps": (600,), "hidden_size": 256, "scaler_type": "standard"},
        "D": {
            "context_steps": 2016,
            "steps": (600,),
            "hidden_size": 256,
            "scaler_type": "standard",
            "windows_batch_size": 256,
        },
    },
}
_LIBRARY_NAMES = {"nhits": "NHITS", "patchtst": "PatchTST", "tide": "TiDE"}


def peers(task: str, name: str) -> list[Callable[[], Peer]]:
    """What makes the peers that `name` stands for; a library is imported only when its peer is made.

    None where they have nothing to say: PatchTST and AutoETS cannot be told what comes.
    """
    if name == "naive":
        return _naive(task)
    if name == "ets":
        return [] if TASKS[task].told else [_ets]
    if name == "lightgbm":
        return [lambda: _lightgbm(_LIGHTGBM[task])]
    settings = _NEURAL[name].get(task)
    return [] if settings is None else [lambda: _neural(_LIBRARY_NAMES[name], settings)]


def _naive(task: str) -> list[Callable[[], Peer]]:
    if TASKS[task].shared_time is not None:  # entities that were never seen
        return [PooledPersistence]
    return [partial(Naive, season_h) for season_h in (0, *TASKS[task].seasons_h)]


def _ets() -> Peer:
    from benchmarks.accuracy.peers.ets import AutoEts  # noqa: PLC0415 - needs its library

    return AutoEts()


def _lightgbm(settings: dict[str, Any]) -> Peer:
    from benchmarks.accuracy.peers.lightgbm import LightGBM  # noqa: PLC0415 - needs its library

    return LightGBM(**settings)


def _neural(name: str, settings: dict[str, Any]) -> Peer:
    from benchmarks.accuracy.peers.neural import Neural  # noqa: PLC0415 - needs its library

    return Neural(name, **settings)
