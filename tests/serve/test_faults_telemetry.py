"""What may become of the source of telemetry while the server's process runs: docs/serving_faults.md."""

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from attacked import FORECAST, Attacked, attacked
from fleets import fleet, telemetry
from loopback import wait_until

TOPOLOGY = fleet()
MISSING = "server-3"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    with attacked(tmp_path_factory.mktemp("sources")) as server:
        yield server


def sources(server: Attacked) -> dict[str, str]:
    """Who speaks for each server."""
    reply = server.ask("GET", f"{FORECAST}?level=server&until=PT15M")
    assert reply.status == 200
    return {row["entity_id"]: row["source"] for row in reply.json["rows"]}


def problem(server: Attacked) -> str | None:
    """What is wrong with the source."""
    return server.ask("GET", f"{FORECAST}/status").json["problems"].get("source")


def strict(server: Attacked, **query: str) -> int:
    """The status for who wants the model or nothing."""
    more = "".join(f"&{name}={value}" for name, value in query.items())
    reply = server.ask("GET", f"{FORECAST}?allow_fallback=false{more}")
    if reply.status == 503:
        assert reply.headers["retry-after"] == "1"
    return reply.status


@pytest.mark.slow
def test_stale_telemetry_is_answered_by_fallbacks_and_said_to_be(tmp_path: Path) -> None:
    """A quarter of an hour passes each second, and nothing new comes."""
    with attacked(tmp_path, "--speed", "900") as server:
        wait_until(lambda: set(sources(server).values()) == {"last_good"}, "the last forecast speaks")
        assert strict(server) == 503
        row = server.ask("GET", f"{FORECAST}/headroom?entity=server-0").json["rows"][0]
        assert row["age_s"] > 2 * 900
        wait_until(lambda: set(sources(server).values()) == {"seasonal"}, "it is used up")
        server.assert_unharmed()


def test_an_entity_that_is_missing_falls_back_alone(tmp_path: Path) -> None:
    rows = telemetry(TOPOLOGY, hours=30).filter(pl.col("entity_id") != MISSING)
    with attacked(tmp_path, rows=rows) as server:
        told = sources(server)
        assert told.pop(MISSING) not in {"model", "last_good"}
        assert set(told.values()) == {"model"}
        assert strict(server, entity=MISSING) == 503
        assert strict(server, entity="server-0") == 200
        assert server.ask("GET", f"{FORECAST}?entity=server-99").status == 404


FILES = {
    "garbage": b"PAR1 and then nothing",
    "a footer that lies": b"PAR1" + bytes(100) + (2**31 - 1).to_bytes(4, "little") + b"PAR1",
}


@pytest.mark.parametrize("content", FILES.values(), ids=FILES)
def test_a_file_that_cannot_be_read_is_told_and_forecasts_go_on(server: Attacked, content: bytes) -> None:
    (server.folder / "telemetry" / "new.parquet").write_bytes(content)
    wait_until(lambda: problem(server) is not None, "it is told")
    assert "new.parquet" in str(problem(server))
    assert strict(server) == 200
    server.assert_unharmed()
    (server.folder / "telemetry" / "new.parquet").unlink()
    wait_until(lambda: problem(server) is None, "all is well again")


def test_a_source_that_is_gone_is_told_and_forecasts_go_on(server: Attacked) -> None:
    folder = server.folder / "telemetry"
    folder.rename(server.folder / "away")
    wait_until(lambda: problem(server) is not None, "the loss is noticed")
    server.assert_unharmed()
    assert set(sources(server).values()) == {"model"}  # the clock stands still
    folder.write_bytes(b"a file, where a folder was")
    server.assert_unharmed()
    folder.unlink()
    (server.folder / "away").rename(folder)
    wait_until(lambda: problem(server) is None, "it is back")
    assert strict(server) == 200
