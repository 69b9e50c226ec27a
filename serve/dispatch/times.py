"""Which steps of a forecast are meant: times with a zone, or ISO 8601 durations from the forecast time on."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from serve.engine.issued import Issued
from serve.refusals import BadRequestError

_DURATION = re.compile(
    r"P(?:(?P<weeks>\d{1,3})W)?(?:(?P<days>\d{1,4})D)?"
    r"(?:T(?=\d)(?:(?P<hours>\d{1,5})H)?(?:(?P<minutes>\d{1,6})M)?(?:(?P<seconds>\d{1,8})S)?)?"
)

#: A plus sign that came as a space, as it does where an address was not encoded.
_LOST_PLUS = re.compile(r"(T.*) (\d\d:?\d\d)$")


@dataclass(frozen=True)
class Span:
    """Steps of a forecast, `[first, end)`, and the times that they cover, UTC."""

    first: int
    end: int
    begin: datetime
    until: datetime

    @property
    def steps(self) -> slice:
        return slice(self.first, self.end)


def span_of(issued: Issued, begin: str | None, until: str | None, where: str = "") -> Span:
    """The steps that overlap a stretch of time.

    Args:
        begin: its beginning; None, or a time before the forecast's, for the first step.
        until: its end; None for the horizon's.
        where: what comes before the names of the two in errors.

    Raises:
        BadRequestError: no time, an empty stretch, or one that the forecast does not reach.
    """
    spec, start = issued.forecast.spec, issued.time
    step = timedelta(seconds=spec.step_s)
    end = start + step * spec.horizon_steps
    first = 0 if begin is None else max((moment(begin, start, f"{where}from") - start) // step, 0)
    to = end if until is None else moment(until, start, f"{where}until")
    if first >= spec.horizon_steps:
        raise BadRequestError(
            f"{where}from: {_printed(start + first * step)} is beyond the forecast, which ends at {_printed(end)}."
        )
    if to > end:
        raise BadRequestError(
            f"{where}until: {to:%Y-%m-%dT%H:%M:%SZ} is beyond the forecast, which ends at {_printed(end)}."
        )
    last = -((start - to) // step)
    if first >= last:
        since = start + first * step
        raise BadRequestError(
            f"{where}until: {_printed(to)} is not after {_printed(since)}, the first step that is asked for."
        )
    return Span(first, last, start + first * step, start + last * step)


def moment(text: str, start: datetime, field: str) -> datetime:
    """A time: ISO 8601 with its zone, or a duration from `start` on.

    Raises:
        BadRequestError: it is neither; named by `field`.
    """
    if (later := duration(text)) is not None:
        return start + later
    try:
        time = datetime.fromisoformat(_LOST_PLUS.sub(r"\1+\2", text))
        if time.tzinfo is not None:
            return time.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise BadRequestError(
        f"{field}: {text[:40]} is no time; write one with its zone, as {start:%Y-%m-%dT%H:%MZ}, or a duration, as PT6H."
    )


def duration(text: str) -> timedelta | None:
    """An ISO 8601 duration without years and months, which differ in length; None if it is none."""
    told = _DURATION.fullmatch(text)
    if told is None or not any(told.groupdict().values()):
        return None
    return timedelta(**{unit: int(count) for unit, count in told.groupdict().items() if count})


def _printed(time: datetime) -> str:
    return f"{time:%Y-%m-%dT%H:%M:%SZ}"
