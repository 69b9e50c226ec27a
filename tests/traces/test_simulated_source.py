"""The simulated fleet as a source: made once per setting, never at the cost of somebody's folder."""

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from forecast.contracts.errors import ConfigError
from forecast.simulator.config import RowConfig, SimulatorConfig
from forecast.traces.files import FileSource
from forecast.traces.simulated import SimulatedSource

TINY = SimulatorConfig(days=1, step_s=3600, rows=[RowConfig("hall-a", "cpu-2s", racks=1, servers_per_rack=2)])


def test_a_record_is_made_once_and_read_again(tmp_path: Path) -> None:
    source = SimulatedSource(fleet=TINY, path=str(tmp_path / "fleet"))
    first = source.read()
    config = tmp_path / "fleet" / "config.json"
    made = config.stat().st_ino
    again = source.read()
    assert config.stat().st_ino == made, "the record was not made anew"
    assert again.key == first.key
    assert again.telemetry.collect().equals(first.telemetry.collect())
    assert first.telemetry.collect()["time"].n_unique() == 24
    assert first.topology.levels == ("server", "rack", "row", "hall", "site")


def test_other_settings_are_simulated_anew_in_the_same_place(tmp_path: Path) -> None:
    path = str(tmp_path / "fleet")
    before = SimulatedSource(fleet=TINY, path=path).read()
    rows = before.telemetry.collect().sort("entity_id", "time")
    after = SimulatedSource(fleet=replace(TINY, seed=1), path=path).read()
    assert after.key != before.key
    assert not after.telemetry.collect().sort("entity_id", "time")["power_w"].equals(rows["power_w"])


def test_a_record_whose_key_was_never_written_is_simulated_anew(tmp_path: Path) -> None:
    source = SimulatedSource(fleet=TINY, path=str(tmp_path / "fleet"))
    first = source.read()
    (tmp_path / "fleet" / "key").unlink()
    (tmp_path / "fleet" / "leftover").touch()
    assert source.read().key == first.key
    assert not (tmp_path / "fleet" / "leftover").exists()


@pytest.mark.parametrize("held", [[], ["thesis.tex"], ["config.json", "model.safetensors"]])
def test_a_folder_of_somebody_else_is_refused_and_left_alone(tmp_path: Path, held: list[str]) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    for name in held:
        (folder / name).write_text("precious")
    with pytest.raises(ConfigError, match=r"source.path=.*mine exists and is not a simulated fleet"):
        SimulatedSource(fleet=TINY, path=str(folder)).read()
    assert sorted(file.name for file in folder.iterdir()) == sorted(held)


def test_it_reads_as_the_files_it_leaves_do(tmp_path: Path) -> None:
    fleet = tmp_path / "fleet"
    simulated = SimulatedSource(fleet=TINY, path=str(fleet), until="2026-01-05T12:00").read()
    files = FileSource(path=str(fleet / "telemetry"), topology=str(fleet / "topology.parquet")).read()
    morning = files.telemetry.filter(pl.col("time").dt.hour() < 12).collect()
    assert simulated.telemetry.collect().equals(morning)
    assert morning.height == 3 * 12, "two servers, and the hall with its cooling"
