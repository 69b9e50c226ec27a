"""What no single sample shows: power that never moves, limits passed all the time, a tree that lacks something."""

from collections.abc import Iterable, Iterator

import numpy as np
import polars as pl
from numpy.typing import NDArray

from forecast.contracts.rules import EXAMPLES
from forecast.contracts.signals import LEVELS, TARGETS
from forecast.contracts.topology import Topology
from forecast.features.absence import LEFT_S
from forecast.quality.quality import Fact
from forecast.quality.rows import Spoken
from forecast.quality.tally import Tally
from forecast.wording import percent, target_title

#: Of its time; above a limit for longer says that the limit is another's.
_OFTEN_BEYOND = 0.01


def odd_values(tally: Tally, told: Spoken, targets: Iterable[str], resets: pl.DataFrame | None) -> Iterator[Fact]:
    """Facts about the values.

    Args:
        tally: of the whole record.
        told: who spoke, and when.
        targets: the signals that are judged.
        resets: as of `examine`.
    """
    names = tally.topology.entities
    a_day = 86_400 // tally.step_s
    for signal in targets:
        at = tally.signals.index(signal)
        came, believed = tally.came[at], tally.believed[at]
        title = target_title(signal)
        constant = (believed >= a_day) & (tally.low[at] == tally.high[at])
        yield from _fact(f"{title} that is the same from the first sample to the last", constant, names)
        yield from _fact(f"{title} of which no sample can be believed", (came > 0) & (believed == 0), names)
        yield from _fact(
            f"{title} that ended a day or more before the last of the same entity", _ended(told, at), names
        )
        text = f"{title} that never came, though others of the level tell theirs"
        yield from _fact(text, _absent(told, at, tally.topology), names)
        beyond = tally.beyond[at] > _OFTEN_BEYOND * np.maximum(believed, 1)
        limit = TARGETS[signal].limit
        yield from _fact(f"{title} above {limit} for more than {percent(_OFTEN_BEYOND, 0)} of the time", beyond, names)
    if resets is not None and len(resets):
        reset = resets["entity_id"].unique(maintain_order=True)
        text = f"energy counters that started again ({len(resets)} times); the rate leaves the interval out"
        yield Fact(text, len(reset), tuple(reset.head(EXAMPLES)))


def _ended(told: Spoken, at: int) -> NDArray[np.bool_]:
    """Who goes on telling other signals: a sensor that died, which is not expected any more."""
    ended: NDArray[np.bool_] = np.fmax.reduce(told.last_s, axis=0) - told.last_s[at] >= LEFT_S
    return ended


def _absent(told: Spoken, at: int, topology: Topology) -> NDArray[np.bool_]:
    """Who tells other signals and not this one, which some entity of its level has."""
    level, came = topology.table["level"].to_numpy(), ~np.isnan(told.first_s)
    absent: NDArray[np.bool_] = came.any(axis=0) & ~came[at] & np.isin(level, level[came[at]])
    return absent


def odd_tree(topology: Topology) -> Iterator[Fact]:
    """Facts about the tree."""
    table, names = topology.table, topology.entities
    parents = set(table["parent_id"].drop_nulls())
    leaf = np.array([name not in parents for name in names])
    low = table["level"].is_in(LEVELS[: LEVELS.index("hall")]).to_numpy()
    alone = table["parent_id"].is_null().to_numpy()
    lonely = "in no tree: no topology was found, or one without parents" if alone.all() else "without a parent"
    yield from _fact(f"{lonely}; no level above is made of them", low & alone, names)
    for column in ("power_limit_w", "temperature_limit_c"):
        unknown = leaf & table[column].is_null().to_numpy()
        yield from _fact(f"without {column}: no headroom, and its unit is hard to tell", unknown, names)


def _fact(text: str, struck: NDArray[np.bool_], names: tuple[str, ...]) -> Iterator[Fact]:
    places = np.flatnonzero(struck)
    if places.size:
        yield Fact(text, len(places), tuple(names[place] for place in places[:EXAMPLES]))
