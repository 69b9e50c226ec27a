"""The panel is built in as much memory as it may take, whatever the size of the telemetry."""

import os
import subprocess
import sys
from pathlib import Path

import big_lake
import pytest
from big_lake import write_lake


def built(folder: Path, memory_gb: float) -> tuple[int, float]:
    """Days built by a process that may hold `memory_gb`, and the most it held, in GB."""
    paths = os.pathsep.join(str(Path(big_lake.__file__).parents[up]) for up in range(3))
    env = {**os.environ, "PYTHONPATH": paths, "POLARS_MAX_THREADS": "4"}
    command = [sys.executable, big_lake.__file__, folder, str(memory_gb)]
    days, peak_gb = subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout.split()
    return int(days), float(peak_gb)


def test_a_panel_larger_than_memory_is_built_within_it(tmp_path: Path) -> None:
    """Five days of 4000 servers at 1 min take 0.9 GB to make at once."""
    rows = write_lake(tmp_path, servers=4000, minutes=5 * 1440, every=20, files=5, row_group=100_000)
    assert rows > 1_000_000
    days, peak_gb = built(tmp_path, 0.7)
    assert days == 5
    assert peak_gb <= 0.7


@pytest.mark.slow
def test_a_hundred_million_rows_within_a_gigabyte(tmp_path: Path) -> None:
    """Ten thousand servers, once in each of ten thousand minutes at any moment."""
    rows = write_lake(tmp_path, servers=10_000, minutes=10_000, every=1, files=20, row_group=1_000_000)
    assert rows > 97_000_000
    write_lake(tmp_path / "small", servers=20, minutes=1440, every=60, files=1, row_group=1000)
    built(tmp_path / "small", 1.0)  # compiles, which takes memory once
    days, peak_gb = built(tmp_path, 1.0)
    assert days == 7
    assert peak_gb <= 1.0
