"""What no single sample shows: power that never moves, limits passed all the time, a tree that lacks something."""

from collections.abc import Iterable, Iterator

import numpy as np
import polars as pl
from numpy.typing import NDArray

from forecast.contracts.rules import EXAMPLES
from forecast.contracts.signals import LEVELS, TARGETS
from forecast.contracts.topology import Topology
from forecast.quality.quality import Fact
from forecast.quality.tally import Tally
from forecast.wording import percent, target_title

#: Of its time; above a limit for longer says that the limit is another's.
_OFTEN_BEYOND = 0.01


def odd_values(tally: Tally, targets: Iterable[str], resets: pl.DataFrame | None) -> Iterator[Fact]:
    """Facts about the values.

    Args:
        tally: of the whole record.
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
        beyond = tally.beyond[at] > _OFTEN_BEYOND * np.maximum(believed, 1)
        limit = TARGETS[signal].limit
        yield from _fact(f"{title} above {limit} for more than {percent(_OFTEN_BEYOND, 0)} of the time", beyond, names)
    if resets is not None and len(resets):
        reset = resets["entity_id"].unique(maintain_order=True)
        text = f"energy counters that started again ({len(resets)} times); the rate leaves the interval out"
        yield Fact(text, len(reset), tuple(reset.head(EXAMPLES)))


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
