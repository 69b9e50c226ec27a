"""One run: read, build features, make a bundle, judge it, publish it."""

import sys
from pathlib import Path

from rich.console import Console

from forecast.bundle.load import Bundle, load
from forecast.contracts.errors import BundleError, ExitCode
from forecast.contracts.version import key_of
from forecast.registry.publish import publish_bundle
from forecast.registry.store import Registry
from forecast.retrain.config import JobConfig, Log, plain
from forecast.retrain.gate import Verdict
from forecast.retrain.make import STAGES, make_bundle
from forecast.retrain.prepare import Prepared, prepare
from forecast.retrain.pretrained import Pretrained
from forecast.retrain.record import Record
from forecast.retrain.rival import NO_CHAMPION
from forecast.retrain.signals import held
from forecast.retrain.stages import Stage, Stages
from forecast.tables import console, print_scores
from forecast.training.checkpoints import Checkpoints


def run(config: JobConfig, out: Path) -> ExitCode:
    """Run the job.

    Args:
        config: resolved.
        out: folder of this run: `scores.json`, `gate.json`, `forecast.png`, the bundle as `bundle/`, and whatever its
            end, what `Record` writes.

    Returns:
        What the process should exit with.
    """
    for_machines = config.log == Log.json or (config.log == Log.auto and not sys.stdout.isatty())
    with Record(config, out, (lambda line: print(line, flush=True)) if for_machines else None) as record:
        stages = Stages(STAGES + 4, Console(quiet=True) if for_machines else console(), record.step)
        record.code = _run(config, out, stages, record)
    return record.code


def _run(config: JobConfig, out: Path, stages: Stages, record: Record) -> ExitCode:
    config.trainer.device()  # a GPU that is missing is missed before the work
    registry = Registry(Path(config.registry.root), config.name, config.registry.keep)
    prepared = prepare(config, stages)
    key = run_key(config, prepared)
    record.facts |= {"run_key": key, "code_version": prepared.code}
    if config.registry.publish and registry.has(key):
        stages.say(f"Nothing new: {registry.folder} holds {key}, made from the same data, settings and code.")
        return ExitCode.NOTHING_NEW
    with stages("champion") as stage:
        champion, why = _champion(registry, stage)
    checkpoints = Checkpoints(Path(config.cache) / "checkpoints" / config.name / key, stages.say)
    if config.registry.publish:  # runs that do not may be at work beside each other
        checkpoints.remove_others()
    bundle, verdict = make_bundle(config, prepared, key, out, stages, champion, why, checkpoints)
    with stages("publish") as stage:
        code = _publish(config, registry, bundle, verdict, stage)
    checkpoints.remove()
    print_scores(bundle.manifest.scores, stages.console)
    return code


def run_key(config: JobConfig, prepared: Prepared) -> str:
    """Identify a run: the same forecast, settings, data and code give the same key."""
    elsewhere = {"registry", "cache", "memory_gb", "log", "metrics_file"}
    settings = {name: value for name, value in plain(config).items() if name not in elsewhere}
    parts = [settings, prepared.trace.key, prepared.code]
    if config.training.start_from is not None:
        parts.append(Pretrained.find(config.training.start_from, prepared.spec).facts["sha256"])
    return key_of(*parts)


def _champion(registry: Registry, stage: Stage) -> tuple[Bundle | None, str]:
    """The version in service, and what to say of it; None where there is none, or it cannot be opened."""
    try:
        current = registry.current()
        champion = load(current) if current else None
        stage.result = f"{current.name} is in service" if current else NO_CHAMPION
    except BundleError as error:
        champion, stage.result = None, f"the version in service cannot be opened: {error}"
    stage.facts["champion"] = champion.manifest.bundle_id if champion else None
    return champion, stage.result


def _publish(config: JobConfig, registry: Registry, bundle: Bundle, verdict: Verdict, stage: Stage) -> ExitCode:
    """Put a bundle into service if it passed its gate."""
    stage.facts["gate"] = {name: verdict[name] for name in ("passed", "reason")}
    if not config.registry.publish:
        stage.result = f"not asked to; {verdict['reason']}"
        return ExitCode.PUBLISHED
    if not verdict["passed"]:
        stage.result = f"rejected: {verdict['reason']}"
        return ExitCode.REJECTED
    try:
        with registry.lock(), held():
            published = publish_bundle(registry, bundle, verdict)
    except BundleError as error:
        stage.facts["gate"] = {"passed": False, "reason": str(error)}
        stage.result = f"rejected: {error}"
        return ExitCode.REJECTED
    stage.facts["published"] = published.name
    stage.result = f"{published} ({verdict['reason']})"
    return ExitCode.PUBLISHED
