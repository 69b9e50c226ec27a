"""Whether training should proceed: a few rules, each with a bound and where it comes from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from forecast.features.absence import LEFT_S, STORM_RATIO
from forecast.features.units import LIMITS_IN_KW
from forecast.quality.quality import Judged, Unit
from forecast.wording import fixed, moment, percent, target_title

#: Of what came, a larger share that is no observation, or breaks the contract, speaks of a broken exporter and not of
#: single sensors: nineteen of twenty is what a complete step asks for too.
MOST_BROKEN = 0.05

#: A sampler this much slower than the grid leaves a step empty now and then, whatever it does.
_SPARSE = 1.1

_DAY_S = 86_400


@dataclass(frozen=True)
class Evidence:
    """What the rules look at.

    Attributes:
        absent: channels that the telemetry has no column for.
        completeness, unusable: target to the share of its expected steps that are usable, and to the share of those
            that came which are not; of a target that never came there is none.
        interval_s: target to the typical time between its samples.
        step_s: of the grid.
        units: as they were inferred.
        rows, set_aside: rows as they came, and rows or values that break the contract.
        unknown_rows: of entities that the topology lacks; they may be left out on purpose, so no bound is set on them.
        measured, left: entities with samples of their own, and those of them that were silent for the last 24 h.
        length_s: from the first sample to the last.
        watermark: the last complete step, None where there is none lately.
        now: what the clock says; None where nobody asked whether the telemetry is of today.
    """

    targets: Sequence[str]
    absent: Sequence[str]
    completeness: Mapping[str, float]
    unusable: Mapping[str, float]
    interval_s: Mapping[str, float]
    step_s: int
    units: Sequence[Unit]
    rows: int
    set_aside: int
    unknown_rows: int
    measured: int
    left: int
    length_s: float
    watermark: datetime | None
    now: datetime | None


def verdict(evidence: Evidence) -> tuple[Judged, ...]:
    """Every rule with what was found."""
    return (
        _channels(evidence),
        *(_observed(target, evidence) for target in evidence.targets),
        *(_unit(unit) for unit in evidence.units),
        *(_complete(target, evidence) for target in evidence.targets if target in evidence.completeness),
        *(_usable(target, evidence) for target in evidence.targets if target in evidence.unusable),
        _there(evidence),
        _kept(evidence),
        _long(evidence),
        _fresh(evidence),
    )


def _channels(evidence: Evidence) -> Judged:
    found = f"no column {', '.join(evidence.absent)}" if evidence.absent else "all there"
    if not evidence.targets:
        found = "neither power_w nor temperature_c"
    passed = not evidence.absent and bool(evidence.targets)
    return Judged("every channel has a column", found, "all", "training refuses less", passed)


def _observed(target: str, evidence: Evidence) -> Judged:
    came = target in evidence.completeness and evidence.completeness[target] > 0
    return Judged(f"{_named(target)} was observed", "yes" if came else "never", "once", "training refuses less", came)


def _unit(unit: Unit) -> Judged:
    rule = f"{_named(unit.signal)} is in {unit.declared}"
    bound, source = "the median fits", "training refuses another unit"
    if unit.typical is None or unit.fits is None:
        typically = f"typically {significant(unit.raw)} {unit.declared}; " if unit.raw is not None else ""
        return Judged(rule, f"{typically}{unjudged(unit)}", bound, source, None)
    where = "the limit" if unit.signal != "power_w" else "nameplate"
    typically = f"typically {significant(unit.typical)} × {where}"
    if unit.fits == unit.declared:
        return Judged(rule, typically, bound, source, passed=True)
    found = f"{typically}, which fits {unit.fits}: {declaring(unit.signal, unit.fits)} in the source's YAML"
    if unit.fits == "mW":
        found += f"; or {LIMITS_IN_KW}"
    return Judged(rule, found, bound, source, passed=False)


def _complete(target: str, evidence: Evidence) -> Judged:
    share = evidence.completeness[target]
    bound = f"at least {percent(1 - STORM_RATIO, 0)}"
    source = f"over {percent(STORM_RATIO, 0)} missing is a storm, and nothing should be learnt from it"
    interval_s = evidence.interval_s.get(target, 0.0)
    sparse = interval_s > _SPARSE * evidence.step_s
    slower = f"; a sample comes every {fixed(interval_s, 0)} s: choose a longer step" if sparse else ""
    return Judged(f"{_named(target)} is complete", share_of(share) + slower, bound, source, share >= 1 - STORM_RATIO)


def _usable(target: str, evidence: Evidence) -> Judged:
    share = evidence.unusable[target]
    broken = "stuck, a spike, impossible, contradicted or in another unit"
    found = f"{share_of(share) if share else 'none'} of what came is {broken}"
    source = "more is a broken exporter, not single sensors"
    return Judged(
        f"{_named(target)} can be believed", found, f"at most {percent(MOST_BROKEN, 0)}", source, share <= MOST_BROKEN
    )


def _there(evidence: Evidence) -> Judged:
    left = f"{fixed(evidence.left, 0)} of {fixed(evidence.measured, 0)} measured entities have left"
    return Judged(
        "the fleet is still there",
        left if evidence.left else "nobody has left",
        f"at most {percent(STORM_RATIO, 0)}, or one, silent for {LEFT_S // 3600} h at the end",
        "who is silent for so long is not forecast any more, and more at once is a storm",
        evidence.left <= max(1, STORM_RATIO * evidence.measured),
    )


def _kept(evidence: Evidence) -> Judged:
    share = evidence.set_aside / evidence.rows
    strangers = f", besides {fixed(evidence.unknown_rows, 0)} of entities that the topology lacks"
    return Judged(
        "rows keep the contract",
        f"{fixed(evidence.set_aside, 0)} of {fixed(evidence.rows, 0)} rows set aside, whole or a value of them"
        + (strangers if evidence.unknown_rows else ""),
        f"at most {percent(MOST_BROKEN, 0)}",
        "more is a broken mapping or export",
        share <= MOST_BROKEN,
    )


def _long(evidence: Evidence) -> Judged:
    days = (evidence.length_s + evidence.step_s) / _DAY_S
    source = "a day is judged by the one before it, and learned from another"
    return Judged("there is a day to learn from", f"{fixed(days, 1)} days", "at least 2 days", source, days >= 2)


def _fresh(evidence: Evidence) -> Judged:
    rule, bound = "the telemetry is of today", f"complete up to {LEFT_S // 3600} h before --now"
    source = "who is silent for 24 h is not forecast any more"
    found = f"complete up to {moment(evidence.watermark)}"
    if evidence.now is None:
        return Judged(rule, f"{found}; judged with --now", bound, source, None)
    fresh = evidence.watermark is not None and (evidence.now - evidence.watermark).total_seconds() <= LEFT_S
    return Judged(rule, found, bound, source, fresh)


def unjudged(unit: Unit) -> str:
    """Why nothing can be said of a unit."""
    nothing = "nothing above 0 came" if unit.signal == "power_w" else "nothing came"
    return f"cannot be judged: {nothing if unit.raw is None else 'no nameplate'}"


def declaring(signal: str, unit: str) -> str:
    """What to do about a unit: the setting of a source that tells it, which has no sign for degrees."""
    return f"declare units: {{{signal}: {unit.replace('°', 'deg')}}}"


def share_of(share: float | None) -> str:
    """Percent with one decimal, never rounded up to all or down to nothing."""
    if share is not None and 0.9995 <= share < 1:
        return "> 99.9 %"
    return "< 0.1 %" if share is not None and 0 < share < 0.0005 else percent(share)


def significant(value: float) -> str:
    """Two significant digits, as of 0.00031 or 1.2; ratios may be far from 1."""
    return f"{value:.2g}" if 1e-4 <= abs(value) < 1e4 else f"{value:.1e}"


def _named(target: str) -> str:
    return target if target_title(target) == target else f"{target_title(target)} ({target})"
