"""One run: read, build features, make a bundle, judge it, publish it."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import polars as pl

from forecast.bundle.load import Bundle
from forecast.contracts.errors import ExitCode
from forecast.contracts.version import key_of
from forecast.registry.store import Registry
from forecast.retrain.config import JobConfig
from forecast.retrain.gate import judge
from forecast.retrain.make import STAGES, make_bundle
from forecast.retrain.prepare import Prepared, prepare
from forecast.retrain.stages import Stages
from forecast.tables import print_scores


def run(config: JobConfig, out: Path) -> ExitCode:
    """Run the job.

    Args:
        config: resolved.
        out: folder of this run: `scores.json`, `gate.json`, `forecast.png`, and the bundle as `bundle/`.

    Returns:
        What the process should exit with.
    """
    config.trainer.device()  # a GPU that is missing is missed before the work
    stages = Stages(STAGES + 3)
    registry = Registry(Path(config.registry.root), config.name, config.registry.keep)
    prepared = prepare(config, stages)
    key = run_key(config, prepared)
    if config.registry.publish and registry.has(key):
        stages.say(f"Nothing new: {registry.folder} holds {key}, made from the same data, settings and code.")
        return ExitCode.NOTHING_NEW
    bundle = make_bundle(config, prepared, key, out, stages)
    with stages("publish") as stage:
        code, stage.result = _publish(config, registry, bundle)
    print_scores(bundle.manifest.scores, stages.console)
    return code


def run_key(config: JobConfig, prepared: Prepared) -> str:
    """Identify a run: the same forecast, settings, data and code give the same key."""
    settings = {name: value for name, value in asdict(config).items() if name not in {"registry", "cache", "memory_gb"}}
    return key_of(settings, prepared.trace.key, prepared.code)


def _publish(config: JobConfig, registry: Registry, bundle: Bundle) -> tuple[ExitCode, str]:
    """Judge a bundle and put it into service if it passes; the exit code, and a line that says what was done."""
    verdict = judge(pl.DataFrame(bundle.manifest.scores))
    (bundle.folder.parent / "gate.json").write_text(json.dumps(verdict, indent=1))
    if not config.registry.publish:
        return ExitCode.PUBLISHED, f"not asked to; {verdict['reason']}"
    if not verdict["passed"]:
        return ExitCode.REJECTED, f"rejected: {verdict['reason']}"
    with registry.lock():
        staged = registry.staging()
        shutil.copytree(bundle.folder, staged, dirs_exist_ok=True)
        published = registry.publish(staged, bundle.manifest.bundle_id)
    return ExitCode.PUBLISHED, f"{published} ({verdict['reason']})"
