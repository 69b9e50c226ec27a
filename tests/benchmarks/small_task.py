"""A history and questions made of arrays: what peers are tried on."""

from datetime import UTC, datetime

import numpy as np

from benchmarks.accuracy.tasks import Asked, History, contexts
from forecast.contracts.specs import ForecastSpec

SPEC = ForecastSpec(
    step_s=3600,
    context_steps=72,
    horizon_steps=30,
    targets=("power_w", "temperature_c"),
    past=("power_w", "temperature_c"),
    quantile_levels=(0.1, 0.5, 0.9),
)


def load(days: int = 30, entities: int = 2, seed: int = 0) -> np.ndarray:
    """`[C, N, T]`: a load that follows the hour with noise, and a temperature that follows it."""
    random = np.random.default_rng(seed)
    wave = np.sin(2 * np.pi * np.arange(days * 24) / 24)
    power_w = 200 + 50 * wave + 10 * random.standard_normal((entities, days * 24))
    return np.stack([power_w, 20 + power_w / 10]).astype(np.float32)


def history_of(values: np.ndarray, end: int, told: tuple[int, ...] = ()) -> History:
    known = np.where(np.arange(values.shape[2]) < end, values, np.float32(np.nan))
    entities = tuple(f"e{index}" for index in range(values.shape[1]))
    start = datetime(2026, 3, 2, tzinfo=UTC)
    return History(known, np.full(len(entities), end), start, 0.0, SPEC, entities, (24,), told)


def asked_of(values: np.ndarray, origins: list[int], told: tuple[int, ...] = ()) -> Asked:
    entity = np.tile(np.arange(values.shape[1]), len(origins))
    origin = np.repeat(origins, values.shape[1])
    horizon = SPEC.horizon_steps
    ahead = contexts(values[list(told)], entity, origin + horizon, horizon)
    return Asked(entity, origin, contexts(values, entity, origin, SPEC.context_steps), ahead)
