"""The report's first lines: what the scores mean, in sentences made from the data."""

import polars as pl

from forecast.wording import OURS, fixed, method_title, moment, percent, quantity, target_title

#: How far an interval's coverage may stray from its nominal share and still be called calibrated.
TOLERANCE = {0.80: 0.02, 0.98: 0.007}


def findings(scores: pl.DataFrame, calibration: pl.DataFrame, headroom: pl.DataFrame) -> list[str]:
    """Return one sentence per thing worth knowing; the frames are those of `Report` and may be empty."""
    return [*_comparisons(scores), *_verdicts(calibration), *_tightest(headroom)]


def _comparisons(scores: pl.DataFrame) -> list[str]:
    if scores.is_empty():
        return []
    scored = scores.filter(pl.col("wql").cast(pl.Float64).is_finite())
    targets = scored["target"].unique(maintain_order=True)
    return [sentence for target in targets if (sentence := _comparison(target, scored.filter(target=target)))]


def _comparison(target: str, scored: pl.DataFrame) -> str | None:
    levels = scored.filter(method=OURS)["level"]
    mean = (
        scored.filter(pl.col("level").is_in(levels.implode()))
        .group_by("method", maintain_order=True)
        .agg(pl.col("wql").mean(), pl.len().alias("levels"))
        .filter(pl.col("levels") == len(levels))  # a baseline missing at some level has another task's mean
    )
    ours, rivals = mean.filter(method=OURS), mean.filter(pl.col("method") != OURS).sort("wql")
    if ours.is_empty() or rivals.is_empty() or rivals["wql"][0] == 0:
        return None
    change = ours["wql"][0] / rivals["wql"][0] - 1
    return (
        f"{target_title(target)}: weighted quantile loss {_change(change)} "
        f"the best baseline, {method_title(rivals['method'][0])}{_over(levels)}{_lost(scored)}."
    )


def _lost(scored: pl.DataFrame) -> str:
    """Name the levels where some baseline does better: a mean must not hide them."""
    ours = scored.filter(method=OURS).select("level", ours="wql")
    best = scored.filter(pl.col("method") != OURS).group_by("level").agg(pl.col("wql").min())
    lost = ours.join(best, on="level", maintain_order="left").filter(pl.col("wql") < pl.col("ours"))["level"]
    return f"; a baseline is better at {', '.join(lost)}" if len(lost) else ""


def _change(relative: float) -> str:
    if abs(relative) < 0.0005:
        return "the same as"
    return f"{percent(abs(relative))} {'below' if relative < 0 else 'above'}"


def _over(levels: pl.Series) -> str:
    return f", as a mean over {len(levels)} levels" if len(levels) > 1 else ""


def _verdicts(calibration: pl.DataFrame) -> list[str]:
    if calibration.is_empty():
        return []
    targets = calibration["target"].unique(maintain_order=True)
    return [sentence for target in targets if (sentence := _verdict(target, calibration.filter(target=target)))]


def _verdict(target: str, calibration: pl.DataFrame) -> str | None:
    covered = {nominal: _central_coverage(calibration, nominal) for nominal in TOLERANCE}
    parts = [_coverage(nominal, share) for nominal, share in covered.items() if share is not None]
    if not parts:
        return None
    return f"{target_title(target)}: {'; '.join(parts)}."


def _central_coverage(calibration: pl.DataFrame, nominal: float) -> float | None:
    """Share of outcomes between the two quantiles that bound the central interval, or None if either is absent."""
    seen = calibration.filter(pl.col("observed").cast(pl.Float64).is_finite())
    bounds = [
        seen.filter((pl.col("nominal") - level).abs() < 1e-6)["observed"]
        for level in ((1 - nominal) / 2, (1 + nominal) / 2)
    ]
    if any(bound.is_empty() for bound in bounds):
        return None
    low, high = (float(bound[0]) for bound in bounds)
    return high - low


def _coverage(nominal: float, observed: float) -> str:
    gap = observed - nominal
    held = f"the {percent(nominal, 0)} interval held {percent(observed)} of outcomes"
    if abs(gap) <= TOLERANCE[nominal] + 1e-9:
        return f"{held}, as it should"
    return f"{held}, {fixed(100 * abs(gap), 1)} points too {'wide' if gap > 0 else 'narrow'}"


def _tightest(headroom: pl.DataFrame) -> list[str]:
    if headroom.is_empty():
        return []
    row = headroom.row(0, named=True)
    return [
        f"Tightest: {row['entity_id']} has {quantity(row['headroom'], row['unit'])} of "
        f"{target_title(row['target']).lower()} headroom at {percent(row['confidence'], 0)} confidence, "
        f"until {moment(row['until'])}."
    ]
