"""A sink's thread: what an outage of any length costs, and what is told of it."""

import threading
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from issuing import issue, later
from loopback import wait_until
from outlets import Desk, outlet

from serve.engine.issued import Issued
from serve.sinks.address import parse_address
from serve.sinks.kinds import open_sink
from serve.sinks.outlet import WAITING
from serve.sinks.sink import Sink


class Gate(Sink):
    """A folder behind a gate: shut, whoever writes waits there."""

    def __init__(self, folder: Path) -> None:
        super().__init__(parse_address(f"parquet:{folder}", {}))
        self.behind = open_sink(self.address)
        self.open, self.reached = threading.Event(), threading.Event()

    def write(self, issued: Issued) -> None:
        self.reached.set()
        assert self.open.wait(30)
        self.behind.write(issued)


def times(folder: Path) -> list[object]:
    return pl.scan_parquet(folder / "**/*.parquet").select("forecast_time").unique().collect().to_series().to_list()


def test_a_sink_that_is_away_costs_the_oldest_cycles_and_no_time(tmp_path: Path) -> None:
    desk, sink, first = Desk(), Gate(tmp_path), issue()
    cycles = [later(first, step) for step in range(WAITING + 3)]
    with outlet(sink, desk) as out:
        out.put(cycles[0])
        assert sink.reached.wait(30)
        for cycle in cycles[1:]:
            out.put(cycle)
        assert desk.count(out, "cycles_dropped_total") == 3
        assert desk.count(out, "lag_seconds") > 0
        sink.open.set()
        wait_until(lambda: desk.count(out, "lag_seconds") == 0, "all is written")
    assert {cycle.time for cycle in cycles[-WAITING:]} <= set(times(tmp_path))


def test_a_busy_forecast_pushes_out_no_other(tmp_path: Path) -> None:
    desk, sink, first = Desk(), Gate(tmp_path), issue()
    with outlet(sink, desk) as out:
        out.put(replace(first, name="week-ahead"))
        for step in range(2 * WAITING):
            out.put(later(first, step))
        sink.open.set()
    assert (tmp_path / "forecast=week-ahead").is_dir()


def test_a_newer_word_on_the_same_time_takes_the_place_of_one_that_waits(tmp_path: Path) -> None:
    desk, sink, first, other = Desk(), Gate(tmp_path), issue(), later(issue(), 1)
    revised = issue(shift=7.0)
    with outlet(sink, desk) as out:
        out.put(first)
        assert sink.reached.wait(30)
        out.put(other)
        out.put(revised)
        sink.open.set()
    written = pl.scan_parquet(tmp_path / "**/*.parquet").filter(forecast_time=revised.time).collect()
    assert written.equals(revised.table())
    assert desk.count(out, "cycles_dropped_total") == 0
    assert desk.count(out, "cycles_written_total") == 3


def test_failures_are_told_and_tried_again_until_all_is_well(tmp_path: Path) -> None:
    desk, folder = Desk(), tmp_path / "forecasts"
    folder.write_text("in the way")
    with outlet(open_sink(parse_address(f"parquet:{folder}", {})), desk) as out:
        out.put(issue())
        wait_until(lambda: desk.count(out, "failures_total") >= 3, "it was tried again")
        assert "Not a directory" in str(desk.problems[f"sink parquet:{folder}"])
        folder.unlink()
        wait_until(lambda: desk.count(out, "cycles_written_total") == 1, "it is written")
        assert desk.problems == {f"sink parquet:{folder}": None}


def test_a_client_that_goes_mad_ends_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Mad(Gate):
        def write(self, issued: Issued) -> None:
            if not self.open.is_set():
                self.open.set()
                raise AssertionError("first line\nsecond")
            super().write(issued)

    desk = Desk()
    with outlet(Mad(tmp_path), desk) as out:
        out.put(issue())
        wait_until(lambda: desk.count(out, "cycles_written_total") == 1, "it is written after all")
    assert desk.count(out, "failures_total") == 1
    assert "first line" in caplog.text


def test_the_end_writes_what_waits(tmp_path: Path) -> None:
    desk, sink, first = Desk(), Gate(tmp_path), issue()
    with outlet(sink, desk) as out:
        for step in range(WAITING):
            out.put(later(first, step))
        sink.open.set()
    assert len(times(tmp_path)) == WAITING
