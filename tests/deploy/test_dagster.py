"""The Dagster snippet under the real Dagster, which lives in an environment of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from smoke_run import ROOT
from stand_in import DEPLOY, Place

DAGSTER = Path(os.environ.get("DAGSTER_PYTHON", ROOT / ".venv-dagster" / "bin" / "python"))
SNIPPET = DEPLOY / "dagster" / "definitions.py"

#: Materialises the asset once in a process of its own, as the daemon does, and tells what became of it.
_RUN = f"""
import sys
import dagster as dg
sys.path.insert(0, {str(SNIPPET.parent)!r})
from definitions import defs, nightly, published_bundle
result = dg.materialize([published_bundle], raise_on_error=False)
made = result.asset_materializations_for_node("published_bundle")
retries = [event for event in result.all_events if event.event_type_value == "STEP_UP_FOR_RETRY"]
print(result.success, len(made), len(retries), *(made[0].metadata if made else ()))
"""


@pytest.fixture
def place(tmp_path: Path) -> Place:
    if not DAGSTER.exists():
        pytest.skip("Dagster is absent; `make .venv-dagster/.done` installs it")
    return Place.make(tmp_path)


def dagster(place: Place, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {
        "DAGSTER_HOME": str(place.state),
        "DAGSTER_DISABLE_TELEMETRY": "1",
        "FLEETCAST_HOME": str(place.home),
        "FLEETCAST_STATE": str(place.state),
        "FLEETCAST_PYTHON": sys.executable,
    }
    return subprocess.run(
        [DAGSTER, *arguments], cwd=place.state, env=environment, capture_output=True, text=True, check=False
    )


def test_dagster_loads_the_snippet_and_refuses_a_wrong_one(place: Place, tmp_path: Path) -> None:
    check = ["-m", "dagster", "definitions", "validate", "-f"]
    taken = dagster(place, *check, SNIPPET)
    assert taken.returncode == 0, taken.stderr
    wrong = tmp_path / "wrong.py"
    wrong.write_text(SNIPPET.read_text().replace('"17 2 * * *"', '"17 25 * * *"'))
    assert dagster(place, *check, wrong).returncode != 0


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (0, "True 1 0 run_key outcome"),
        pytest.param(10, "True 0 0", marks=pytest.mark.slow),
        pytest.param(20, "False 0 0", marks=pytest.mark.slow),
    ],
)
def test_the_asset_is_made_when_something_was_published(place: Place, code: int, told: str) -> None:
    record = '{"run_key": "abc", "outcome": "published", "error": null}'
    training = place.home / "train.py"
    training.write_text(
        f"import pathlib, sys\nout = pathlib.Path(sys.argv[-1].split('=', 1)[1])\nout.mkdir(parents=True)\n"
        f"(out / 'run.json').write_text({record!r})\nsys.exit({code})\n"
    )
    done = dagster(place, "-c", _RUN)
    assert done.stdout.splitlines()[-1:] == [told], done.stderr


@pytest.mark.slow
def test_a_source_that_is_away_is_tried_again(place: Place) -> None:
    place.ends_with(40, 0)
    snippet = (DEPLOY / "dagster" / "definitions.py").read_text()
    (place.state / "definitions.py").write_text(snippet.replace("seconds_to_wait=600", "seconds_to_wait=0"))
    done = dagster(place, "-c", _RUN.replace(str(SNIPPET.parent), str(place.state)))
    assert done.stdout.splitlines()[-1:] == ["True 1 1"], done.stderr
