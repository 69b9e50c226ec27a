"""What a bundle may do to whoever opens it: nothing. The graphs that loop or take memory are real ones."""

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hand_made import LEVELS, forever, greedy, make_bundle

from forecast.bundle.load import load
from forecast.bundle.trial import trial
from forecast.contracts.errors import BundleError

MIB = 1024**2


def refusal(bundle: Path, memory_bytes: int = 4096 * MIB, timeout_s: float = 60.0) -> str:
    with pytest.raises(BundleError) as caught:
        trial(bundle, memory_bytes, timeout_s)
    line = str(caught.value)
    assert "\n" not in line
    assert str(bundle) in line
    return line


def test_a_sound_bundle_passes(tmp_path: Path) -> None:
    trial(make_bundle(tmp_path))


def test_a_graph_without_end_is_refused(tmp_path: Path) -> None:
    assert "did not end within 3 s" in refusal(make_bundle(tmp_path, detour=forever()), timeout_s=3.0)


def test_a_graph_without_end_ends_though_nobody_waits(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path, detour=forever())
    command = [sys.executable, "-m", "forecast.bundle.trial", bundle, str(4096 * MIB), "1"]
    assert subprocess.run(command, check=False, capture_output=True).returncode == -signal.SIGXCPU


def test_a_graph_that_takes_more_memory_than_it_may_is_refused(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path, detour=greedy())
    assert "Failed to allocate memory" in refusal(bundle, memory_bytes=2048 * MIB)


def test_a_process_that_dies_is_a_refusal(tmp_path: Path) -> None:
    # Too little for the libraries themselves: no error of ours is raised, the process breaks down.
    assert "within 300 MiB ended with" in refusal(make_bundle(tmp_path), memory_bytes=300 * MIB)


def test_a_damaged_bundle_is_refused_for_the_reason_that_load_gives(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path)
    (bundle / "report.html").write_text("another")
    assert refusal(bundle).endswith(
        "report.html: its SHA-256 is not the manifest's; the file was altered or cut short."
    )


@pytest.mark.parametrize("open_bundle", [trial, load], ids=["trial", "load"])
@pytest.mark.parametrize(
    ("levels", "reason"),
    [
        (LEVELS[::-1], "quantiles of the golden inputs cross"),
        (LEVELS * np.nan, "quantiles of the golden inputs are not all finite"),
        (np.array([1.0, 2.0, np.inf]), "quantiles of the golden inputs are not all finite"),
    ],
    ids=["cross", "nan", "inf"],
)
def test_quantiles_nobody_can_dispatch_by_are_refused_though_pytorch_agrees(
    tmp_path: Path, levels: np.ndarray, reason: str, open_bundle: object
) -> None:
    bundle = make_bundle(tmp_path, levels=levels)
    with pytest.raises(BundleError, match=reason):
        open_bundle(bundle)  # type: ignore[operator]


def test_headroom_that_is_infinite_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="headroom of the golden inputs is not finite where there is a limit"):
        load(make_bundle(tmp_path, limit_w=np.inf))


def test_headroom_of_what_has_no_limit_is_unknown(tmp_path: Path) -> None:
    assert load(make_bundle(tmp_path, limit_w=np.nan))
