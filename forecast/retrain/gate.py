"""May this bundle go into service? A verdict as data, against what anyone could do without it."""

from typing import Any

import numpy as np
import polars as pl

from forecast.wording import OURS, percent

#: No target at any level may be worse than the best baseline by more than this.
WORST_SEGMENT = 1.05


def judge(scores: pl.DataFrame) -> dict[str, Any]:
    """Compare ours with the best baseline of each target and level.

    Returns:
        `passed`, `reason`, `overall` (geometric mean of the WQL ratios), `coverage_80` (mean over segments), and
        `segments`, a row per target and level with `ours`, `baseline`, `best_baseline`, `ratio`. It passes when the
        overall ratio is below 1 and no segment is above `WORST_SEGMENT`.
    """
    ours = scores.filter(pl.col("method") == OURS).select("target", "level", ours="wql")
    rivals = scores.filter(pl.col("method") != OURS).sort("wql").group_by("target", "level", maintain_order=True)
    best = rivals.agg(pl.col("method").first().alias("best_baseline"), pl.col("wql").first().alias("baseline"))
    segments = ours.join(best, on=["target", "level"]).with_columns(ratio=pl.col("ours") / pl.col("baseline"))
    overall = float(np.exp(np.log(segments["ratio"].to_numpy()).mean()))
    worst = segments.sort("ratio", descending=True).row(0, named=True)
    if not overall < 1:
        reason = f"on the whole {overall - 1:.1%} worse than the best baselines"
    elif not worst["ratio"] <= WORST_SEGMENT:
        reason = (
            f"{worst['target']} of {worst['level']} is {worst['ratio'] - 1:.1%} worse than {worst['best_baseline']}"
        )
    else:
        reason = f"{1 - overall:.1%} lower WQL than the best baselines"
    passed = overall < 1 and worst["ratio"] <= WORST_SEGMENT
    covered = float(scores.filter(pl.col("method") == OURS)["coverage_80"].mean())  # type: ignore[arg-type]
    reason += f"; its 80 % intervals cover {percent(covered, 0)}"
    return {
        "passed": passed,
        "reason": reason,
        "overall": overall,
        "coverage_80": covered,
        "segments": segments.to_dicts(),
    }
