"""The command with sinks: forecasts arrive where they should, and a sink that is away is only told of."""

from pathlib import Path

import polars as pl
import pytest
from fleets import NOW, fleet, publish, telemetry, write_bundle
from loopback import free_port, wait_until
from running import Process, ask

from serve.__main__ import main


def test_forecasts_are_written_and_a_broker_that_is_away_is_told_of(tmp_path: Path) -> None:
    topology, folder = fleet(), tmp_path / "forecasts"
    publish(tmp_path / "registry", write_bundle(tmp_path / "made", "made", topology), "k1")
    telemetry(topology).write_parquet(tmp_path / "telemetry.parquet")
    away = f"nats://127.0.0.1:{free_port()}/fleetcast"
    record = ("--telemetry", str(tmp_path / "telemetry.parquet"), "--as-of", NOW.isoformat(), "--speed", "0")
    server = Process(tmp_path / "registry", *record, "--sink", f"parquet:{folder}?level=rack", "--sink", away)
    try:
        where = f"sink {away}"
        status = "/v1/forecasts/day-ahead/status"
        wait_until(lambda: where in ask(server.address, "GET", status).json.get("problems", {}), "it is told of")
        told = f'fleetcast_sink_cycles_written_total{{sink="parquet:{folder}?level=rack"}} 1.0'
        wait_until(lambda: told.encode() in ask(server.address, "GET", "/metrics").body, "it is written")
        server.process.terminate()
        assert server.ended() == 0
    finally:
        server.process.kill()
    rows = pl.read_parquet(folder / "**/*.parquet")
    assert set(rows["entity_id"]) == {"rack-0", "rack-1"}
    assert set(rows["bundle_id"]) == {"k1"}


def test_a_sink_that_means_nothing_is_told_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "--registry", str(tmp_path), "--port", "0", "--sink", "mqtt://me:secret@broker/f"]) == 2
    printed = capsys.readouterr()
    assert "FLEETCAST_MQTT_PASSWORD" in printed.err
    assert "secret" not in printed.err + printed.out
