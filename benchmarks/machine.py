"""What a figure was measured on, and where it is written down."""

import argparse
import json
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np

from benchmarks import overview


def cpu() -> str:
    """The processor's name."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def no_arguments(command: str, purpose: str | None) -> None:
    """Read the command line of `python -m COMMAND`, which takes nothing: --help tells why, all else is refused."""
    argparse.ArgumentParser(prog=f"python -m {command}", description=purpose).parse_args()


def processor_s(process: int) -> float:
    """Processor time of a process with all its threads (proc(5): fields 14 and 15 of stat)."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def in_turns(calls: Sequence[Callable[[], object]], rounds: int) -> np.ndarray:
    """Processor seconds of calls that take turns, `[rounds, calls]`; a round before them warms up."""
    seconds = np.empty((rounds + 1, len(calls)))
    for turn in seconds:
        for at, call in enumerate(calls):
            begin = process_time()
            call()
            turn[at] = process_time() - begin
    return seconds[1:]


def record(name: str, cores: int, figures: Mapping[str, Mapping[str, Any]], **more: Any) -> None:
    """Write `results/NAME.json`: figures as {"value", "goal", "better"}, and whatever else was measured.

    The page of all figures follows.
    """
    result = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{cpu()}, {cores} core{'s' * (cores > 1)}",
        "device": "cpu",
        "figures": figures,
        **more,
    }
    overview.RESULTS.mkdir(exist_ok=True)
    (overview.RESULTS / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n")
    overview.write()
