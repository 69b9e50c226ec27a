"""One run: read, build features, train, calibrate, export, backtest, judge, publish."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl

from forecast.bundle.export import OPSET, export, operators
from forecast.bundle.load import Bundle, load
from forecast.bundle.manifest import Manifest
from forecast.bundle.session import MODEL, Session
from forecast.contracts.errors import ExitCode
from forecast.contracts.version import code_version, key_of
from forecast.evaluation.backtest import Backtest, backtest
from forecast.evaluation.report import Report, write_report
from forecast.headroom import tightest
from forecast.predictor import Predictor
from forecast.registry.store import Registry
from forecast.retrain.charts import fan_charts
from forecast.retrain.config import JobConfig
from forecast.retrain.gate import judge
from forecast.retrain.learn import Learner
from forecast.retrain.prepare import Prepared, panel_of, prepare, spec_of
from forecast.retrain.stages import Stages
from forecast.tables import print_scores
from forecast.traces.files import FileSource

_STAGES = 8


def run(config: JobConfig, out: Path) -> ExitCode:
    """Run the job.

    Args:
        config: resolved.
        out: folder of this run: `scores.json`, `gate.json`, and the bundle as `bundle/`.

    Returns:
        What the process should exit with.
    """
    stages, cache = Stages(_STAGES), Path(config.cache)
    registry = Registry(Path(config.registry.root), config.name, config.registry.keep)
    with stages("read") as stage:
        spec = spec_of(config.window)
        trace = config.source.read(cache)
        stage.result = f"{len(trace.topology.entities)} entities"
    with stages("features") as stage:
        panel, stage.result = panel_of(trace, spec, type(config.source).__name__, cache)
        prepared = prepare(config, trace, panel, spec)
    key = run_key(config, prepared)
    if config.registry.publish and registry.has(key):
        stages.console.print(
            f"Nothing new: {registry.folder} already holds {key}, made from the same data, settings and code."
        )
        return ExitCode.NOTHING_NEW
    bundle = _make(config, prepared, key, out, stages)
    return _publish(config, registry, bundle, stages)


def run_key(config: JobConfig, prepared: Prepared) -> str:
    """The same forecast, settings, data and code give the same key."""
    settings = {name: value for name, value in asdict(config).items() if name not in {"registry", "cache"}}
    return key_of(settings, prepared.trace.key, code_version())


def _make(config: JobConfig, prepared: Prepared, key: str, out: Path, stages: Stages) -> Bundle:
    """Train to a verified bundle in `out/bundle`."""
    folder = out / "bundle"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    learner = Learner.of(config, prepared)
    with stages("train") as stage:
        fitted = learner.train_model(config, stage.progress)
        stage.result = f"{learner.parameters:,} parameters, best at step {fitted.step} of {config.training.steps}"
    with stages("calibrate") as stage:
        graph = learner.calibrate()
        stage.result = f"{len(learner.validation):,} validation windows"
    with stages("export") as stage:
        apart = export(graph, learner.example(), folder)
        stage.result = f"opset {OPSET}, PyTorch and ONNX Runtime within {apart:.0e}"
    training = _training_facts(config, prepared, learner) | {"parity": apart, "operators": operators(folder)}
    manifest = Manifest(
        key,
        config.name,
        prepared.spec,
        prepared.trace.topology,
        prepared.trace.topology.skus,
        _mapping(config),
        training,
        [],
    )
    with stages("backtest") as stage:
        predictor = Predictor(Bundle(folder, manifest, Session((folder / MODEL).read_bytes())))
        tested = backtest(predictor, prepared.panel, prepared.split, config.evaluation, stage.progress)
        stage.result = f"{len(prepared.split.origins)} origins"
    with stages("report") as stage:
        _report(manifest, predictor, prepared, tested, folder)
        stage.result = str(folder / "report.html")
    manifest.scores.extend(tested.scores.to_dicts())
    manifest.write(folder)
    (out / "scores.json").write_text(json.dumps(manifest.scores, indent=1))
    return load(folder)


def _training_facts(config: JobConfig, prepared: Prepared, learner: Learner) -> dict[str, Any]:
    panel, split = prepared.panel, prepared.split
    return {
        "data_from": panel.time(0).isoformat(),
        "train_until": panel.time(int(split.validation.max())).isoformat(),
        "calibrated_until": panel.time(int(split.test.max())).isoformat(),
        "watermark": panel.time(panel.watermark()).isoformat(),
        "code_version": code_version(),
        "model": {"name": type(learner.model).__name__, "parameters": learner.parameters, **asdict(config.model)},
        "seed": config.seed,
        "opset": OPSET,
    }


def _mapping(config: JobConfig) -> dict[str, Any] | None:
    return config.source.mapping() if isinstance(config.source, FileSource) else None


def _report(manifest: Manifest, predictor: Predictor, prepared: Prepared, tested: Backtest, folder: Path) -> None:
    last = predictor.at(prepared.panel, max(prepared.split.origins))
    facts = {name.replace("_", " "): str(value) for name, value in manifest.training.items() if name != "operators"}
    report = Report(
        title=manifest.name,
        facts={"bundle": manifest.bundle_id, **facts},
        quantile_levels=manifest.spec.quantile_levels,
        scores=tested.scores,
        calibration=tested.calibration,
        horizon=tested.horizon,
        headroom=tightest(last),
        charts=fan_charts(last, prepared.panel),
    )
    write_report(report, folder / "report.html")


def _publish(config: JobConfig, registry: Registry, bundle: Bundle, stages: Stages) -> ExitCode:
    """Judge a bundle, and put it into service when it passes."""
    scores = bundle.manifest.scores
    with stages("publish") as stage:
        verdict = judge(pl.DataFrame(scores))
        (bundle.folder.parent / "gate.json").write_text(json.dumps(verdict, indent=1))
        if not config.registry.publish:
            stage.result = f"not asked to; {verdict['reason']}"
        elif not verdict["passed"]:
            stage.result = f"rejected: {verdict['reason']}"
        else:
            with registry.lock():
                staged = registry.staging()
                shutil.copytree(bundle.folder, staged, dirs_exist_ok=True)
                published = registry.publish(staged, bundle.manifest.bundle_id)
            stage.result = f"{published} ({verdict['reason']})"
    print_scores(scores, stages.console)
    passed = verdict["passed"] or not config.registry.publish
    return ExitCode.PUBLISHED if passed else ExitCode.REJECTED
