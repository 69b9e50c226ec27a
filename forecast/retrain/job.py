"""One run: read, build features, make a bundle, judge it, publish it."""

import sys
from pathlib import Path

from rich.console import Console

from forecast.bundle.load import Bundle, load
from forecast.contracts.errors import BundleError, ExitCode, TransientError
from forecast.evaluation.splits import read_origins
from forecast.registry.publish import publish_bundle
from forecast.registry.repair import restore
from forecast.registry.store import Registry
from forecast.retrain.config import JobConfig, Log, When
from forecast.retrain.drift import drift_of, waits
from forecast.retrain.gate import Verdict
from forecast.retrain.novelty import nothing_new, run_key
from forecast.retrain.prepare import prepare, spec_of
from forecast.retrain.pretrained import Pretrained
from forecast.retrain.record import Record
from forecast.retrain.resources import check_folders, check_space
from forecast.retrain.rival import NO_CHAMPION
from forecast.retrain.signals import held
from forecast.retrain.stages import MAKING, Stage, Stages
from forecast.tables import console, print_scores
from forecast.training.checkpoints import Checkpoints

#: How long to wait for somebody who writes to the registry: a rollback is no reason to throw away what was trained.
_PATIENCE_S = 60.0


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
        stages = Stages(MAKING + 5, Console(quiet=True) if for_machines else console(), record.step)
        record.code = _run(config, out, stages, record)
    return record.code


def _run(config: JobConfig, out: Path, stages: Stages, record: Record) -> ExitCode:
    registry = Registry(Path(config.registry.root), config.name, config.registry.keep)
    _check(config, registry)
    if not config.registry.publish:
        check_space((Path(config.cache), out), config.free_gb)
        return _locked(config, registry, out, stages, record)
    check_space((registry.folder, Path(config.cache), out), config.free_gb)
    with registry.run_lock():
        return _locked(config, registry, out, stages, record)


def _check(config: JobConfig, registry: Registry) -> None:
    """Miss what is missing before the work: a GPU, a folder, weights, a list of origins.

    Raises:
        ConfigError: one is not what the settings say.
        DataError: the list of origins is not there, or is none.
    """
    config.trainer.device()
    check_folders({"registry.root": registry.folder, "cache": Path(config.cache)})
    if (named := config.training.named_weights) is not None:
        Pretrained.find(named, spec_of(config.window))
    if config.evaluation.origins is not None:
        read_origins(config.evaluation)


def _locked(config: JobConfig, registry: Registry, out: Path, stages: Stages, record: Record) -> ExitCode:
    """The run, while no other of this forecast may publish."""
    before = restore(registry, _PATIENCE_S, stages.say) if config.registry.publish else registry.current()
    prepared = prepare(config, stages)
    key = run_key(config, prepared)
    record.facts |= {"run_key": key, "code_version": prepared.code}
    if config.registry.publish and (reason := nothing_new(registry, key, before, stages.say)):
        stages.say(f"Nothing new: {reason}.")
        record.facts["nothing_new"] = reason
        return ExitCode.NOTHING_NEW
    with stages("champion") as stage:
        champion, why = _champion(before, stage)
    with stages("drift") as stage:
        drift = drift_of(champion, prepared, out, stage)
    if config.when == When.drifted and (reason := waits(drift, champion, registry)) is not None:
        stages.say(reason)
        record.facts["nothing_new"] = reason
        return ExitCode.NOTHING_NEW
    checkpoints = Checkpoints(Path(config.cache) / "checkpoints" / config.name / key, stages.say)
    if config.registry.publish:  # runs that do not may be at work beside each other
        checkpoints.remove_others()
    # Late: Lightning and the exporter take seconds to import, which a run with nothing new has no need of.
    from forecast.retrain.make import make_bundle  # noqa: PLC0415

    bundle, verdict = make_bundle(config, prepared, key, out, stages, champion, why, checkpoints, drift)
    with stages("publish") as stage:
        code = _publish(config, registry, bundle, verdict, before, stage)
    checkpoints.remove()
    print_scores(bundle.manifest.scores, stages.console)
    return code


def _champion(current: Path | None, stage: Stage) -> tuple[Bundle | None, str]:
    """The version in service, and what to say of it; None where there is none, or it cannot be opened."""
    try:
        champion = load(current) if current else None
        stage.result = f"{current.name} is in service" if current else NO_CHAMPION
    except BundleError as error:
        champion, stage.result = None, f"the version in service cannot be opened: {error}"
    stage.facts["champion"] = champion.manifest.bundle_id if champion else None
    return champion, stage.result


def _publish(
    config: JobConfig, registry: Registry, bundle: Bundle, verdict: Verdict, before: Path | None, stage: Stage
) -> ExitCode:
    """Put a bundle into service if it passed its gate, unless another than `before` is in service now."""
    stage.facts["gate"] = {name: verdict[name] for name in ("passed", "reason")}
    if not config.registry.publish:
        stage.result = f"not asked to; {verdict['reason']}"
        return ExitCode.PUBLISHED
    if not verdict["passed"]:
        with registry.lock(_PATIENCE_S):
            registry.reject(bundle.manifest.bundle_id, before.name if before else None, verdict["reason"])
        stage.result = f"rejected: {verdict['reason']}"
        return ExitCode.REJECTED
    try:
        with registry.lock(_PATIENCE_S), held():
            _check_unchanged(registry, before)
            published = publish_bundle(registry, bundle, verdict)
    except BundleError as error:  # not noted as a rejection: it may be the machine's fault, and pass another time
        stage.facts["gate"] = {"passed": False, "reason": str(error)}
        stage.result = f"rejected: {error}"
        return ExitCode.REJECTED
    stage.facts["published"] = published.name
    stage.result = f"{published} ({verdict['reason']})"
    return ExitCode.PUBLISHED


def _check_unchanged(registry: Registry, before: Path | None) -> None:
    """See that the version in service is the one that the bundle was judged against.

    Raises:
        TransientError: somebody published or rolled back meanwhile.
    """
    now = registry.current()
    if now != before:
        names = [version.name if version else "nothing" for version in (before, now)]
        raise TransientError(
            f"{registry.folder}: {names[1]} came into service instead of {names[0]} while this run was at work; its "
            f"bundle was judged against {names[0]}, and is not published. Run again."
        )
