from dataclasses import asdict

import pytest

from forecast.contracts.errors import ConfigError
from forecast.simulator.config import CapConfig, RowConfig, SimulatorConfig, WorkConfig
from forecast.simulator.fleet import Fleet


def test_the_default_site_is_a_demo_of_every_kind() -> None:
    fleet = Fleet.of(SimulatorConfig())
    assert 130 <= len(fleet.server_ids) <= 160
    assert {rack.sku_name for rack in fleet.racks} == {"h100-air", "gb200-tray", "cpu-2s"}
    assert {rack.inference for rack in fleet.racks if rack.sku_name != "cpu-2s"} == {True, False}


def test_it_is_a_structured_config() -> None:
    omegaconf = pytest.importorskip("omegaconf")
    merged = omegaconf.OmegaConf.merge(
        omegaconf.OmegaConf.structured(SimulatorConfig),
        {
            "days": 3,
            "faults": {"gap": 0.1},
            "rows": [{"hall": "h", "sku": "cpu-2s", "racks": 1, "servers_per_rack": 2}],
        },
    )
    config = omegaconf.OmegaConf.to_object(merged)
    assert config == SimulatorConfig(days=3, faults={"gap": 0.1}, rows=[RowConfig("h", "cpu-2s", 1, 2)])
    assert asdict(config)["rows"][0]["inference_ratio"] == 0.5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"days": 0}, "source.fleet.days is 0; simulate at least 1"),
        ({"step_s": 7}, "step_s is 7"),
        ({"step_s": 90}, "step_s is 90"),
        ({"start": "5 January"}, "start"),
        ({"time_zone": "Mars/Olympus"}, "time_zone"),
        ({"rows": []}, "rows is empty"),
        ({"rows": [RowConfig("h", "cpu-2s", 0, 4)]}, "racks"),
        ({"rows": [RowConfig("h", "cpu-2s", 1, 4, inference_ratio=1.5)]}, "inference_ratio"),
        ({"work": WorkConfig(batch_load=1.2)}, "batch_load"),
        ({"cap": CapConfig(ratio=0.0)}, "cap.ratio"),
    ],
)
def test_what_cannot_mean_anything_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SimulatorConfig(**changes)  # type: ignore[arg-type]


def test_an_unknown_sku_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"source\.fleet: unknown SKU 'abacus'; known are h100-air"):
        Fleet.of(SimulatorConfig(rows=[RowConfig("h", "abacus", 1, 1)]))
