"""The peers that libraries bring: the form of their answers, and that they learn the obvious. Skipped without them."""

from collections.abc import Callable

import numpy as np
import pytest
from small_task import asked_of, history_of, load

from benchmarks.accuracy.methods import peers
from benchmarks.accuracy.peers.peer import Peer
from benchmarks.accuracy.tasks import LEVELS

END = 24 * 24
HOW = "the peers are not installed; `make bench-accuracy` makes an environment that has them"


def lightgbm() -> Peer:
    pytest.importorskip("lightgbm", reason=HOW)
    from benchmarks.accuracy.peers.lightgbm import LightGBM  # noqa: PLC0415 - needs its library

    return LightGBM(leaves=7, in_leaf=20, threads=1)


def ets() -> Peer:
    pytest.importorskip("statsforecast", reason=HOW)
    from benchmarks.accuracy.peers.ets import AutoEts  # noqa: PLC0415 - needs its library

    return AutoEts(3)


def nhits() -> Peer:
    pytest.importorskip("neuralforecast", reason=HOW)
    from benchmarks.accuracy.peers.neural import Neural  # noqa: PLC0415 - needs its library

    return Neural("NHITS", 48, (250, 250), scaler_type="standard", learning_rate=5e-3, windows_batch_size=64)


@pytest.mark.parametrize("make", [lightgbm, ets, nhits])
def test_a_daily_wave_is_learnt(make: Callable[[], Peer]) -> None:
    values = load()
    peer, asked = make(), asked_of(values, [END, END + 7])
    peer.fit(history_of(values, END))
    quantiles = peer.forecast(asked)
    assert quantiles.shape == (4, 2, len(LEVELS), 30)
    assert np.isfinite(quantiles).all()
    assert (np.diff(quantiles, axis=2) >= 0).all(), "levels cross"
    ahead = asked.origin[:, None] + np.arange(30)
    median = quantiles[:, 0, LEVELS.index(0.5)]
    wave = 200 + 50 * np.sin(2 * np.pi * ahead / 24)
    persistence = np.repeat(asked.past[:, 0, -1:], 30, 1)
    assert np.abs(median - wave).mean() < 0.5 * np.abs(persistence - wave).mean()
    measured = values[0, asked.entity[:, None], ahead]
    inside = (measured >= quantiles[:, 0, 0]) & (measured <= quantiles[:, 0, -1])
    assert inside.mean() > 0.75


def driven() -> tuple[Peer, Peer]:
    pytest.importorskip("lightgbm", reason=HOW)
    pytest.importorskip("neuralforecast", reason=HOW)
    from benchmarks.accuracy.peers.lightgbm import LightGBM  # noqa: PLC0415 - needs its library
    from benchmarks.accuracy.peers.neural import Neural  # noqa: PLC0415 - needs its library

    more = {"scaler_type": "standard", "learning_rate": 5e-3, "windows_batch_size": 64}
    return LightGBM(leaves=15, in_leaf=20, threads=1), Neural("NHITS", 24, (200, 200), **more)


@pytest.mark.parametrize("at", [0, 1], ids=["lightgbm", "nhits"])
def test_what_is_told_ahead_is_used(at: int) -> None:
    """The first target is noise that the second, told ahead, repeats."""
    random = np.random.default_rng(0)
    noise = random.standard_normal((1, 2, 720)).cumsum(2)
    values = np.concatenate([100 + 5 * noise, 20 + noise]).astype(np.float32)
    errors = []
    for told in ((1,), ()):
        peer, asked = driven()[at], asked_of(values, [END, END + 40], told)
        peer.fit(history_of(values, END, told))
        median = peer.forecast(asked)[:, 0, LEVELS.index(0.5)]
        truth = values[0, asked.entity[:, None], asked.origin[:, None] + np.arange(30)]
        errors.append(np.abs(median - truth).mean())
    assert errors[0] < 0.6 * errors[1]


@pytest.mark.parametrize("name", ["naive", "ets", "lightgbm", "nhits", "patchtst", "tide"])
@pytest.mark.parametrize("task", ["A", "B", "C", "D"])
def test_every_peer_of_every_task_can_be_made(name: str, task: str) -> None:
    library = {"naive": "numpy", "ets": "statsforecast", "lightgbm": "lightgbm"}.get(name, "neuralforecast")
    pytest.importorskip(library, reason=HOW)
    made = [make() for make in peers(task, name)]
    assert len({peer.name for peer in made}) == len(made) > 0
