"""What is usual of a kind of entity: from training alone, as shares of limits, and read back with suspicion."""

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hand_made import SPEC, make_bundle
from smoke_run import Smoke

from forecast.bundle.load import load
from forecast.bundle.manifest import Manifest
from forecast.bundle.usual import USUAL, read_usual, usual, write_usual
from forecast.contracts.errors import BundleError
from forecast.contracts.topology import Topology
from forecast.windows.panel import Panel

SHARES = [0.25, 0.5, 0.75]


def fleet() -> Topology:
    rows = {
        "entity_id": ["a", "b", "c", "site"],
        "parent_id": ["site", "site", "site", None],
        "level": ["server", "server", "server", "site"],
        "sku": ["x", "y", "y", "mixed"],
        "power_limit_w": [100.0, 200.0, None, 900.0],
        "temperature_limit_c": [80.0] * 4,
        "site": ["site"] * 4,
        "time_zone": ["UTC"] * 4,
    }
    return Topology.of(pl.DataFrame(rows))


def test_shares_of_limits_by_level_and_sku_before_training_ends() -> None:
    steps = np.arange(1000)
    watts = np.stack([steps % 101, 200.0 - steps % 101, 5.0 + steps, np.full(1000, np.nan)]).astype(np.float32)
    watts[0, 900:] = 5000.0  # of the test range, which training knows nothing of
    panel = Panel(datetime(2026, 1, 1, tzinfo=UTC), 3600, ("power_w",), ("a", "b", "c", "site"), (watts[None],))
    told = usual(panel, fleet(), SPEC, np.array([900, 1000, 1000, 1000]))["power_w"]
    assert told.keys() == {"server", "server/x", "server/y"}  # nobody saw the site
    np.testing.assert_allclose(told["server/x"], [0.1, 0.5, 0.9], atol=0.03)
    np.testing.assert_allclose(told["server/y"], [0.55, 0.75, 0.95], atol=0.03)
    assert told["server/x"][0] < told["server"][0] < told["server/y"][0]


def bundle_with(folder: Path, told: object) -> Path:
    """A bundle with this as its file, well hashed."""
    make_bundle(folder)
    (folder / USUAL).write_text(json.dumps(told))
    Manifest.read(folder).write(folder)
    return folder


def test_it_is_read_back(tmp_path: Path) -> None:
    told = {"power_w": {"server": SHARES}}
    write_usual(make_bundle(tmp_path / "k1"), told)
    Manifest.read(tmp_path / "k1").write(tmp_path / "k1")
    assert read_usual(load(tmp_path / "k1")) == told
    assert read_usual(load(make_bundle(tmp_path / "older"))) == {}


@pytest.mark.parametrize(
    "told",
    [
        [],
        {"power_w": SHARES},
        {"load": {"server": SHARES}},
        {"power_w": {"server": SHARES[:2]}},
        {"power_w": {"server": SHARES[::-1]}},
        {"power_w": {"server": [0.1, None, 0.3]}},
        {"power_w": {"server": [0.1, 1e999, 0.3]}},
        {"power_w": {"server": "abc"}},
    ],
)
def test_another_form_is_refused(tmp_path: Path, told: object) -> None:
    with pytest.raises(BundleError, match=USUAL):
        read_usual(load(bundle_with(tmp_path / "k1", told)))


def test_a_file_that_was_changed_later_is_refused(tmp_path: Path) -> None:
    bundle = load(bundle_with(tmp_path / "k1", {"power_w": {"server": SHARES}}))
    (tmp_path / "k1" / USUAL).write_text("{}")
    with pytest.raises(BundleError, match="SHA-256"):
        read_usual(bundle)


def test_a_run_leaves_it_in_its_bundle(smoke: Smoke) -> None:
    bundle = load(smoke.bundle)
    told = read_usual(bundle)
    assert told.keys() == set(bundle.manifest.spec.targets)
    for kinds in told.values():
        assert set(bundle.manifest.topology.levels) <= kinds.keys()
        assert all(shares[0] >= 0 and shares[-1] < 1.5 for shares in kinds.values())
