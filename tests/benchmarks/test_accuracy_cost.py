"""What is timed beside a forecast is a network's forecast, and the two take turns."""

from functools import partial

import numpy as np
import pytest
from small_task import asked_of, history_of, load

from benchmarks.machine import in_turns

END = 24 * 24


@pytest.mark.parametrize(("name", "told"), [("PatchTST", ()), ("NHITS", ()), ("NHITS", (1,))])
def test_networks_alone_tell_what_their_library_tells(name: str, told: tuple[int, ...]) -> None:
    pytest.importorskip("neuralforecast", reason="the peers are not installed; `make bench-accuracy` installs them")
    from benchmarks.accuracy.cost import Networks  # noqa: PLC0415 - needs its library
    from benchmarks.accuracy.peers.neural import Neural  # noqa: PLC0415 - needs its library

    values = load()
    asked = asked_of(values, [*range(END, END + 20)], told)
    networks = Networks(Neural(name, 48, (250, 250), scaler_type="standard", windows_batch_size=64))
    networks.fit(history_of(values, END, told))
    networks.take(asked)
    whole = networks.forecast(asked)
    for size in (7, 64):
        np.testing.assert_allclose(networks.tell(size).swapaxes(2, 3), whole, rtol=1e-4)


def test_calls_take_turns() -> None:
    order: list[str] = []
    assert in_turns([partial(order.append, "ours"), partial(order.append, "theirs")], 2).shape == (2, 2)
    assert order == ["ours", "theirs"] * 3
