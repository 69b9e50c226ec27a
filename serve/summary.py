"""What a forecast says, for people: how good its model was, where the fleet is tight, where to read more."""

from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
from rich.console import Console

from forecast.bundle.load import Bundle
from forecast.bundle.manifest import Manifest
from forecast.headroom import tightest
from forecast.predictor import Forecast
from forecast.tables import print_scores
from forecast.wording import percent, quantity, span, target_title, unit_of

#: Lines per target.
_TIGHTEST = 3

#: So far ahead the name of a day says which one is meant.
_WEEKDAYS = timedelta(days=6)


def print_summary(forecast: Forecast, bundle: Bundle, out: Path, console: Console) -> None:
    """Print scores, the tightest entities, and where the files are."""
    print_scores(bundle.manifest.scores, console)
    ranked = tightest(forecast)
    for index, target in enumerate(forecast.spec.targets):
        _print_tightest(ranked.filter(pl.col("target") == target).head(_TIGHTEST), forecast.time, console)
        _print_unobserved(target, forecast.topology.table["entity_id"].filter(forecast.unobserved[:, index]), console)
    console.print(_provenance(forecast, untrained=is_untrained(bundle.manifest)), soft_wrap=True)
    report = bundle.folder / "report.html"
    if report.exists():
        console.print(f"Report:    {report}", soft_wrap=True)
    console.print(f"Forecasts: {out}", soft_wrap=True)


def _print_tightest(rows: pl.DataFrame, now: datetime, console: Console) -> None:
    if rows.is_empty():
        return
    first = rows.row(0, named=True)
    kind = "power" if first["target"] == "power_w" else "thermal"
    console.print(f"Tightest {kind} headroom")
    for row in rows.iter_rows(named=True):
        console.print(f"  {row['entity_id']}: {sentence(row, now)}", soft_wrap=True)


def _print_unobserved(target: str, names: pl.Series, console: Console) -> None:
    if not names.is_empty():
        more = f" and {len(names) - _TIGHTEST:,} more" if len(names) > _TIGHTEST else ""
        said = (
            f"{target_title(target)} was not observed, so no headroom is promised: {', '.join(names[:_TIGHTEST])}{more}"
        )
        console.print(said, soft_wrap=True, markup=False)


def is_untrained(manifest: Manifest) -> bool:
    """Whether its weights were learnt elsewhere, and learnt nothing from the site: a champion's are told by its id."""
    return manifest.training.get("trained_steps") == 0 and isinstance(manifest.training.get("started_from"), dict)


def sentence(row: dict[str, Any], now: datetime) -> str:
    """A row of `tightest` as a person would say it at `now`, when the forecast begins."""
    headroom, unit = row["headroom"], unit_of(row["target"])
    side = "below" if headroom >= 0 else "above"
    named = "%a %H:%M %Z" if row["until"] - now <= _WEEKDAYS else "%Y-%m-%d %H:%M %Z"
    until = row["until"].astimezone(ZoneInfo(row["time_zone"])).strftime(named)
    verb = "to be" if headroom >= 0 else "of no more than"
    amount = quantity(abs(headroom), unit)
    return f"{percent(row['confidence'], 0)} chance {verb} {amount} {side} its limit at each step through {until}"


def _provenance(forecast: Forecast, *, untrained: bool) -> str:
    counts = Counter(forecast.status)
    status = ", ".join(f"{count} {name}" for name, count in counts.most_common())
    step_s, steps = forecast.spec.step_s, forecast.spec.horizon_steps
    learnt = " (untrained: its weights were learnt elsewhere)" if untrained else ""
    return (
        f"Forecast from {forecast.time:%Y-%m-%d %H:%M} UTC, {span(steps * step_s)} in steps of {span(step_s)}, "
        f"by bundle {forecast.bundle_id}{learnt}; data: {status}."
    )
