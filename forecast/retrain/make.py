"""A prepared panel to a verified bundle: train, calibrate, export, backtest, report."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from forecast.bundle.export import OPSET, export, operators
from forecast.bundle.load import Bundle, load
from forecast.bundle.manifest import Manifest
from forecast.bundle.session import MODEL, Session
from forecast.bundle.usual import usual, write_usual
from forecast.evaluation.backtest import Backtest, backtest
from forecast.evaluation.drift.measure import Drift
from forecast.evaluation.plots import save_fan_chart_png
from forecast.evaluation.report import FanChart, Report, write_report
from forecast.headroom import tightest
from forecast.predictor import Predictor
from forecast.registry.contents import VERDICT
from forecast.retrain.charts import fan_charts
from forecast.retrain.config import JobConfig
from forecast.retrain.gate import Verdict, judge
from forecast.retrain.learn import Learner
from forecast.retrain.prepare import Prepared
from forecast.retrain.resources import with_less
from forecast.retrain.rival import NO_CHAMPION, Rival
from forecast.retrain.stages import Stages
from forecast.retrain.start import WEIGHTS
from forecast.traces.files import FileSource
from forecast.traces.settings import beside
from forecast.training.checkpoints import Checkpoints
from forecast.training.fit import Fit
from forecast.wording import counted


def make_bundle(
    config: JobConfig,
    prepared: Prepared,
    key: str,
    out: Path,
    stages: Stages,
    champion: Bundle | None = None,
    why: str = NO_CHAMPION,
    checkpoints: Checkpoints | None = None,
    drift: Drift | None = None,
) -> tuple[Bundle, Verdict]:
    """Train on `prepared` and leave a bundle in `out/bundle`; `scores.json`, `gate.json`, `forecast.png` lie beside it.

    Args:
        config: resolved.
        prepared: what to learn from.
        key: of the run.
        out: folder of the run.
        stages: told of each stage.
        champion: what is in service; None where nothing is.
        why: there is no champion.
        checkpoints: where it is kept how far training is.
        drift: of the champion, for the report.

    Returns:
        The bundle, and the gate's verdict on it.

    Raises:
        DataError: nothing to train or validate on.
        BundleError: what was exported is not what was trained.
    """
    folder = out / "bundle"
    folder.mkdir(parents=True)  # fails where another run writes: two would mix
    manifest = with_less(
        config, lambda less: _learn(less, prepared, key, folder, stages, champion, checkpoints), stages
    )
    predictor = Predictor(Bundle(folder, manifest, Session((folder / MODEL).read_bytes())), prepared.ahead)
    rival = Rival.of(champion, prepared, why)
    with stages("backtest") as stage:
        ranges = (prepared.panel, prepared.split, config.evaluation)
        tested = backtest(predictor, *ranges, stage.progress, rival.predictor)
        verdict = judge(tested, predictor.bundle, rival, config.gate)
        stage.result = counted(len(prepared.split.origins), "origin") + (
            ", beside the champion" if rival.predictor else ""
        )
    with stages("report") as stage:
        charts = _report(predictor, prepared, tested, verdict, rival.predictor, drift)
        _picture(charts, manifest, out / "forecast.png")
        stage.result = str(folder / "report.html")
    replace(manifest, scores=tested.scores.to_dicts()).write(folder)
    (out / "scores.json").write_text(json.dumps(tested.scores.to_dicts(), indent=1))
    (out / VERDICT).write_text(json.dumps(verdict, indent=1))
    return load(folder), verdict


def _learn(
    config: JobConfig,
    prepared: Prepared,
    key: str,
    folder: Path,
    stages: Stages,
    champion: Bundle | None,
    checkpoints: Checkpoints | None,
) -> Manifest:
    """Train, calibrate and export; the manifest still lacks the scores."""
    learner = Learner.of(config, prepared, champion)
    with stages("train") as stage:
        fitted = learner.train_model(config, stage.progress, checkpoints)
        stage.facts["resumed_at_step"] = fitted.begun
        stage.result = (
            f"{learner.parameters:,} parameters, validation loss {fitted.validation_loss:.4f}, "
            f"{how_it_ended(fitted, config.training.steps)}"
            f"{f', resumed at step {fitted.begun}' if fitted.begun else ''}"
            f"{f'; {learner.start.said}' if learner.start.said else ''}"
            f"{''.join(f'; {line}' for line in learner.unheeded)}"
        )
    with stages("calibrate") as stage:
        graph = learner.calibrate(fitted)
        # The next run starts from weights that have not learnt from what it is validated on.
        learnt = learner.learnt(config.model, graph, prepared.trace.topology.skus, bundle_id=key)
        learnt.write(folder / WEIGHTS)
        learner.learn_last(config, fitted, stage.progress, checkpoints)
        stage.result = counted(len(learner.validation), "validation window")
    with stages("export") as stage:
        apart = export(graph, learner.example(), folder)
        write_usual(folder, usual(prepared.panel, prepared.trace.topology, prepared.spec, prepared.split.validation))
        stage.result = f"opset {OPSET}, PyTorch and ONNX Runtime within {apart:.0e}"
    return Manifest(
        bundle_id=key,
        name=config.name,
        spec=prepared.spec,
        topology=prepared.trace.topology,
        skus=prepared.trace.topology.skus,
        source=config.source.mapping() if isinstance(config.source, FileSource) else None,
        training=_facts(config, prepared, learner, champion)
        | {"trained_steps": fitted.step, "parity": apart, "operators": operators(folder)},
        scores=[],
    )


def how_it_ended(fitted: Fit, steps: int) -> str:
    """Where a fit of at most so many steps found its best weights, and why it ended before the last, in a few words."""
    if not steps:
        return "weights as they came"
    if not fitted.step:
        return f"no weights better than those it began with in {counted(fitted.ended, 'step')}"
    sooner = f", nothing better came in {fitted.ended - fitted.step}" if fitted.ended < steps else ""
    return f"best at step {fitted.step} of {fitted.ended}{sooner}"


def _facts(config: JobConfig, prepared: Prepared, learner: Learner, champion: Bundle | None) -> dict[str, Any]:
    panel, split = prepared.panel, prepared.split
    began, champions = learner.start.weights, learner.start.champion
    settings = asdict(began.config if began else config.model)
    return {
        "data_from": panel.time(0).isoformat(),
        "train_until": panel.time(int(split.validation.max())).isoformat(),
        "calibrated_until": panel.time(int(split.test.max())).isoformat(),
        "watermark": prepared.watermark.isoformat(),
        "code_version": prepared.code,
        "champion": champion.manifest.bundle_id if champion else None,
        "model": {"name": learner.name, "parameters": learner.parameters, **settings},
        **({"started_from": champions or began.facts} if began else {}),
        **{name: beside(spec) for name in ("jobs", "weather") if (spec := getattr(config.source, name)) is not None},
        "seed": config.seed,
        "opset": OPSET,
    }


def _report(
    predictor: Predictor,
    prepared: Prepared,
    tested: Backtest,
    verdict: Verdict,
    champion: Predictor | None,
    drift: Drift | None,
) -> list[FanChart]:
    """Write `report.html`; return the forecasts it draws."""
    manifest, when = predictor.bundle.manifest, max(prepared.split.origins)
    last = predictor.at(prepared.panel, when)
    charts = fan_charts(last, prepared.panel, champion.at(prepared.panel, when) if champion else None)
    facts = {name.replace("_", " "): str(value) for name, value in manifest.training.items() if name != "operators"}
    report = Report(
        title=manifest.name,
        facts={"bundle": manifest.bundle_id, **facts},
        quantile_levels=manifest.spec.quantile_levels,
        scores=tested.scores,
        calibration=tested.calibration,
        horizon=tested.horizon,
        headroom=tightest(last),
        charts=charts,
        exceedance=tested.exceedance,
        verdict=verdict,
        drift=drift,
    )
    write_report(report, predictor.bundle.folder / "report.html")
    return charts


def _picture(charts: list[FanChart], manifest: Manifest, path: Path) -> None:
    """One rack's load and temperature as an image to show around; without racks, the first entity's."""
    racks = [chart for chart in charts if chart.level == "rack"] or charts
    save_fan_chart_png(racks[: len(manifest.spec.targets)], path, manifest.spec.quantile_levels)
