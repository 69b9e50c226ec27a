"""The retraining job as a Dagster asset, every night; `dagster dev -f definitions.py` shows it.

Dagster and Fleetcast live in environments of their own: this file needs `pip install dagster`, and runs Fleetcast.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import dagster as dg

HOME = Path(os.environ.get("FLEETCAST_HOME", "/opt/fleetcast"))
STATE = Path(os.environ.get("FLEETCAST_STATE", "/var/lib/fleetcast"))
PYTHON = os.environ.get("FLEETCAST_PYTHON", str(HOME / ".venv/bin/python"))
SETTINGS = ["source=prometheus", "source.url=http://prometheus:9090", "log=json"]

PUBLISHED, LEAVE_ALONE, TRY_AGAIN = 0, {10, 11, 30}, {40, 75}


@dg.asset(output_required=False)
def published_bundle(context: dg.AssetExecutionContext) -> Iterator[dg.Output[None]]:
    """The forecast in service: materialised when a run publishes a better one."""
    out = STATE / "var/runs/dagster" / context.run_id / str(context.retry_number)
    done = subprocess.run([PYTHON, str(HOME / "train.py"), *SETTINGS, f"hydra.run.dir={out}"], cwd=STATE, check=False)
    record = out / "run.json"
    run = json.loads(record.read_text()) if record.exists() else {}
    facts = {name: str(run[name]) for name in ("run_key", "watermark", "outcome", "error", "seconds") if run.get(name)}
    if done.returncode in TRY_AGAIN:
        raise dg.RetryRequested(max_retries=3, seconds_to_wait=600)
    if done.returncode == PUBLISHED:
        yield dg.Output(None, metadata=facts)
    elif done.returncode in LEAVE_ALONE:
        context.log.info("left as it is: %s", facts)
    else:
        said = f"train.py exited with {done.returncode}: {run.get('error')}"
        raise dg.Failure(said, metadata=facts, allow_retries=False)


nightly = dg.ScheduleDefinition(
    name="nightly", target=[published_bundle], cron_schedule="17 2 * * *", execution_timezone="UTC"
)
defs = dg.Definitions(assets=[published_bundle], schedules=[nightly])
