"""Forecasts are found again while nothing changed that they depend on, and only then."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_task import SPEC, asked_of, history_of, load

from benchmarks.accuracy.cache import answered, key
from benchmarks.accuracy.peers.naive import Naive
from benchmarks.accuracy.peers.peer import filled
from benchmarks.accuracy.peers.pooled import PooledPersistence
from benchmarks.accuracy.tasks import LEVELS

END = 20 * 24


class Counted(Naive):
    """Counts how often it learns."""

    fits = 0

    def fit(self, history: Any) -> None:
        type(self).fits += 1
        super().fit(history)


def test_a_second_run_finds_the_first(tmp_path: Path) -> None:
    values = load()
    history, asked = history_of(values, END), asked_of(values, [END, END + 24])
    Counted.fits = 0
    first = answered(Counted(24), history, asked, tmp_path)
    second = answered(Counted(24), history, asked, tmp_path)
    assert Counted.fits == 1
    np.testing.assert_array_equal(first.quantiles, second.quantiles)
    assert (first.train_s, first.series_per_s, first.parameters) == (
        second.train_s,
        second.series_per_s,
        second.parameters,
    )


def test_whatever_it_depends_on_makes_it_anew() -> None:
    values = load()
    history, asked = history_of(values, END), asked_of(values, [END])
    other = values.copy()
    other[0, 0, 100] += 1
    keys = {
        "same": key(Naive(24), history, asked),
        "settings": key(Naive(0), history, asked),
        "data": key(Naive(24), history_of(other, END), asked),
        "range": key(Naive(24), history_of(values, END - 24), asked),
        "windows": key(Naive(24), history, asked_of(values, [END + 1])),
        "spec": key(Naive(24), replace(history, spec=replace(SPEC, horizon_steps=12)), asked),
    }
    assert len(set(keys.values())) == len(keys)
    assert key(Naive(24), history_of(values, END), asked_of(values, [END])) == keys["same"]


def test_what_comes_after_the_end_changes_no_key() -> None:
    values = load()
    noisy = values.copy()
    noisy[..., END:] = -1
    pairs = [(history_of(part, END), asked_of(part, [END])) for part in (values, noisy)]
    assert key(Naive(24), *pairs[0]) == key(Naive(24), *pairs[1])


def test_a_result_cut_short_is_not_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = load()
    history, asked = history_of(values, END), asked_of(values, [END])

    def dies(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "rename", dies)
    with pytest.raises(KeyboardInterrupt):
        answered(Counted(0), history, asked, tmp_path)
    monkeypatch.undo()
    Counted.fits = 0
    answered(Counted(0), history, asked, tmp_path)
    assert Counted.fits == 1


def test_persistence_answers_with_the_last_value_in_the_middle() -> None:
    values = load()
    values[:, :, :END] = values[:, :, END - 1 : END]  # nothing ever moved
    history, asked = history_of(values, END), asked_of(values, [END])
    peer = Naive(0)
    peer.fit(history)
    quantiles = peer.forecast(asked)
    assert quantiles.shape == (2, 2, len(LEVELS), 30)
    np.testing.assert_array_equal(quantiles, np.broadcast_to(asked.past[:, :, -1, None, None], quantiles.shape))


def test_an_entity_never_seen_gets_the_errors_of_the_others() -> None:
    values = np.cumsum(np.random.default_rng(0).standard_normal((2, 3, 2000)), axis=2).astype(np.float32)
    values[:, 2, :END] = np.nan
    history, asked = history_of(values, END), asked_of(values, [1000])
    peer = PooledPersistence()
    peer.fit(history)
    width = np.diff(peer.forecast(asked)[2, 0][[1, -2]], axis=0)[0]
    np.testing.assert_allclose(width[[0, 24]], 2 * 1.2816 * np.sqrt([1, 25]), rtol=0.35)  # of a random walk


def test_holes_are_filled_from_the_past_first() -> None:
    nan = np.nan
    rows = np.array([[[nan, 1, nan, 3, nan], [nan] * 5]], np.float32)
    np.testing.assert_array_equal(filled(rows), np.array([[[1, 1, 1, 3, 3], [nan] * 5]], np.float32))
