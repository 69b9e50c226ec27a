"""Published bundles on a terminal."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from forecast.bundle.manifest import Manifest
from forecast.contracts.specs import ForecastSpec
from forecast.evaluation.verdict_table import VerdictTable, verdict_table
from forecast.registry.contents import Rejection, Version
from forecast.tables import print_scores
from forecast.wording import MISSING, fixed, moment, percent, span, target_title

_NOTE = "WQL: weighted quantile loss relative to the best baseline's, geometric mean over targets and levels"


def print_versions(
    found: Mapping[str, tuple[Sequence[Version], Rejection | None]], root: Path, console: Console
) -> None:
    """A table of each forecast's versions, and what was rejected since the last of them came into service."""
    if not found:
        _print(f"{root} holds no forecasts; `python train.py` publishes what passes its gate.", console)
        return
    for name, (versions, rejected) in found.items():
        _print(name, console, "bold")
        if versions:
            console.print(_table(versions))
        else:
            _print("nothing published yet", console)
        for version in versions:
            if version.damage:
                _print(f"problem: {version.key}: {version.damage}", console)
        if rejected:
            _print(f"rejected {moment(rejected.time)}: {rejected.key}, {rejected.reason}", console)
        console.print()
    _print(_NOTE, console)


def print_bundle(manifest: Manifest, version: Version, verdict: Mapping[str, Any], console: Console) -> None:
    """A bundle's facts, scores and verdict."""
    _print(f"{manifest.name} {version.key}", console, "bold")
    for name, value in _facts(manifest, version, verdict).items():
        _print(f"{name:<12} {value}", console)
    console.print()
    print_scores(manifest.scores, console)
    _print_verdict(verdict_table(verdict), console)


def _print_verdict(verdict: VerdictTable, console: Console) -> None:
    """What decided, and how many rules there were beside."""
    if not verdict.first:
        return
    table = Table(title="Gate", title_justify="left")
    table.add_column("rule")
    for column in ("champion", "challenger", "change", "bounds", "limit"):
        table.add_column(column, no_wrap=True, justify="right")
    table.add_column("verdict", no_wrap=True)
    for row in verdict.first:
        cells = (row.rule, row.champion, row.challenger, row.change, row.bounds, row.limit)
        table.add_row(*map(Text, cells), "kept" if row.passed else "broken", style="" if row.passed else "bold")
    console.print()
    console.print(table)
    if verdict.rest:
        _print(f"{len(verdict.rest)} more kept; report.html of the version shows them", console)


def _table(versions: Sequence[Version]) -> Table:
    table = Table(show_edge=False, pad_edge=False)
    for column in ("version", "in service", "published", "data until"):
        table.add_column(column, no_wrap=True)
    for column in ("WQL", "size"):
        table.add_column(column, no_wrap=True, justify="right")
    for version in versions:
        cells = (
            version.key,
            version.role,
            moment(version.published),
            moment(version.watermark),
            fixed(version.wql_ratio, 3),
            _megabytes(version.size_bytes),
        )
        table.add_row(*map(Text, cells), style="bold" if version.role == "current" else "")
    return table


def _facts(manifest: Manifest, version: Version, verdict: Mapping[str, Any]) -> dict[str, str]:
    training, table = manifest.training, manifest.topology.table
    counts = ", ".join(
        f"{count} × {level}" for level, count in table.group_by("level", maintain_order=True).len().rows()
    )
    model = training.get("model") or {}
    said = f"{'passed' if verdict.get('passed') else 'not passed'}: {verdict.get('reason')}" if verdict else MISSING
    return {
        "in service": version.role or "no",
        "published": moment(version.published),
        "forecast": in_words(manifest.spec),
        "looks at": f"{', '.join(manifest.spec.past)}; ahead: {', '.join(manifest.spec.future)}",
        "fleet": f"{counts}; of {', '.join(manifest.skus)}",
        "data": f"{_moment(training, 'data_from')} to {_moment(training, 'watermark')}, trained until "
        f"{_moment(training, 'train_until')}",
        "model": f"{model.get('name', MISSING)}, {fixed(model.get('parameters'), 0)} parameters; "
        f"code {training.get('code_version', MISSING)}",
        "size": _megabytes(version.size_bytes),
        "WQL": f"{fixed(version.wql_ratio, 3)} of the best baselines'",
        "verdict": said,
    }


def in_words(spec: ForecastSpec) -> str:
    """A specification as a sentence: what is forecast, how far, how finely, from how much."""
    targets = " and ".join(target_title(target).lower() for target in spec.targets)
    levels = spec.quantile_levels
    return (
        f"{targets}, {span(spec.horizon_steps * spec.step_s)} ahead every {span(spec.step_s)}, from the last "
        f"{span(spec.context_steps * spec.step_s)}; {len(levels)} quantiles from {percent(levels[0], 0)} to "
        f"{percent(levels[-1], 0)}"
    )


def _moment(training: Mapping[str, Any], name: str) -> str:
    try:
        return moment(datetime.fromisoformat(str(training[name])))
    except (KeyError, ValueError):
        return MISSING


def _megabytes(size_bytes: int) -> str:
    return f"{fixed(size_bytes / 1e6, 1)} MB"


def _print(text: str, console: Console, style: str = "") -> None:
    """A line as it is: whoever wants it shorter has a terminal that wraps."""
    console.print(Text(text, style=style), soft_wrap=True)
