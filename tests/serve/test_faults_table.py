"""The table of faults names a test for each, and each of them exists."""

import re
from pathlib import Path

import pytest
from smoke_run import ROOT

ROWS = [
    line
    for line in (ROOT / "docs" / "serving_faults.md").read_text().splitlines()
    if line.startswith("| ") and not line.startswith("| fault |")
]
TESTS = set(
    re.findall(r"^def (test_\w+)\(", "\n".join(map(Path.read_text, Path(__file__).parent.glob("test_*.py"))), re.M)
)


def test_there_is_a_table() -> None:
    assert len(ROWS) > 30


@pytest.mark.parametrize("row", ROWS, ids=[row.split("|")[1].strip() for row in ROWS])
def test_each_fault_has_a_test_that_exists(row: str) -> None:
    named = set(re.findall(r"`(test_\w+)`", row.split("|")[4]))
    assert named
    assert not named - TESTS
