"""Prometheus' HTTP API, as far as reading samples needs it: patient with a busy server, plain about a wrong one.

The names and formats are those of https://prometheus.io/docs/prometheus/latest/querying/api/, which Thanos, Mimir and
VictoriaMetrics serve too.
"""

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import polars as pl
import urllib3
from urllib3.util import Retry, Timeout

from forecast.contracts.errors import ConfigError, DataError, TransientError
from forecast.contracts.tables import UTC

#: Samples as they come: `series` is the labels as JSON with sorted keys, the name left out.
SAMPLES: dict[str, pl.DataType | type[pl.DataType]] = {"time": UTC, "series": pl.String, "value": pl.Float64}

#: Prometheus gives a series at most this many points in a range query (web/api/v1: "exceeded maximum resolution").
_MOST_POINTS = 11_000

#: Aim of one answer, about 5 MB: small beside the 50 million samples that a server loads at most for one query
#: (--query.max-samples), large beside the cost of a request.
_SAMPLES_PER_ANSWER = 200_000

#: Assumed until an answer shows how dense a metric is.
_SCRAPE_S = 5.0

_MILLISECOND = timedelta(milliseconds=1)
_SHORTEST = timedelta(seconds=60)

#: The server is busy or restarting; anything else that it refuses it will refuse again.
_BUSY = (429, 500, 502, 503, 504)

#: Seconds: between attempts up to, and of what a server asks for in Retry-After.
_LONGEST_BACKOFF_S = 30.0
_LONGEST_RETRY_AFTER_S = 120


#: An answer may take so many times as long as a byte of it, and so many bytes: a hundred times what is aimed at.
_LONGEST_ANSWER = 10
_LARGEST_ANSWER = 512 << 20
_BLOCK = 1 << 18


class _TooMuchError(Exception):
    """The server finds the query too large."""


@dataclass(frozen=True)
class PrometheusApi:
    """A server.

    Attributes:
        url: of its root, such as https://prometheus.example:9090 (for Mimir with its prefix, `/prometheus`).
        headers: sent with every request; never told in an error.
        ca_file: certificates trusted instead of the system's.
        timeout_s: for a connection, and between two bytes of an answer.
        attempts: of one request, the first included.
    """

    url: str
    headers: Mapping[str, str] = field(repr=False)
    ca_file: str | None
    timeout_s: float
    attempts: int

    def series(self, selector: str, start: datetime, end: datetime) -> list[dict[str, str]]:
        """The label sets, `__name__` among them, that a selector had samples of at about that time.

        Raises:
            DataError: as `samples`.
        """
        span = {"start": _unix(start), "end": _unix(end)}
        found = self._get("series", [("match[]", selector), *span.items()])
        if not isinstance(found, list):
            raise self._no_prometheus("its answer has no list of series")
        return found

    def samples(
        self, selector: str, start: datetime, end: datetime, step_s: int | None, series: int
    ) -> Iterator[pl.DataFrame]:
        """The samples of `start` <= time < `end`, SAMPLES, a chunk of time after the other.

        Without `step_s` these are the samples as scraped, at the times they were scraped, through an instant query of a
        range vector. A range query would give the value of the last five minutes at each step: samples moved, a dead
        exporter alive for five minutes more, and a counter's reset at the wrong time. With `step_s`, the last sample of
        each step at the step's start, through a range query of `last_over_time`: less to move, sentinels and counters
        still legible (a mean taken by the server would blend them), and gaps still gaps.

        Args:
            selector: an instant vector selector.
            start, end: with `step_s`, multiples of it.
            series: about how many there are; chunks are shorter the more.

        Raises:
            DataError: refused, unreachable after all attempts, or no Prometheus; one line with the server's words.
        """
        density = max(series, 1) / (step_s or _SCRAPE_S)
        cap = end - start
        while start < end:
            window = min(_window(density, step_s), cap, end - start)
            try:
                chunk = self._chunk(selector, start, start + window, step_s)
            except _TooMuchError as refused:
                cap = _aligned(window / 2, step_s)
                if cap < timedelta(seconds=step_s or 1):
                    raise DataError(f"{self.url}: {refused}") from None
                continue
            density = max(len(chunk) / window.total_seconds(), density / 4)
            start += window
            yield chunk

    def _chunk(self, selector: str, start: datetime, end: datetime, step_s: int | None) -> pl.DataFrame:
        if step_s is None:
            # Both ends of a range belong to it before Prometheus 3.0, only the later since; so ask a millisecond early.
            length = (end - start) // _MILLISECOND
            found = self._get("query", [("query", f"{selector}[{length}ms]"), ("time", _unix(end - _MILLISECOND))])
            shift = timedelta(0)
        else:
            shift = timedelta(seconds=step_s)
            # A millisecond less than the step, so that no sample is in two.
            query = f"last_over_time({selector}[{step_s * 1000 - 1}ms])"
            span = {"start": _unix(start + shift), "end": _unix(end), "step": str(step_s)}
            found = self._get("query_range", [("query", query), *span.items()])
        if not isinstance(found, dict) or found.get("resultType") != "matrix":
            raise self._no_prometheus("its answer has no matrix of samples")
        return _frame(found["result"]).with_columns(pl.col("time") - shift).filter(pl.col("time") >= start)

    def _get(self, what: str, query: list[tuple[str, str]]) -> Any:
        # Thanos would leave out a store that is away, and the gap would be kept for good; others don't know the word.
        url = f"{self.url.rstrip('/')}/api/v1/{what}?{urlencode([*query, ('partial_response', 'false')])}"
        return self._data(*self._answered(url))

    def _answered(self, url: str) -> tuple[int, bytes]:
        """Status and body, after as many attempts as there may be."""
        broken: Exception | None = None
        for _ in range(self.attempts):
            try:
                headers = {"Accept-Encoding": "gzip", **self.headers}
                answer = self._pool.request("GET", url, headers=headers, preload_content=False)
                return answer.status, self._whole(answer)
            except urllib3.exceptions.MaxRetryError as error:
                raise self._no_answer(error.reason) from None
            except (urllib3.exceptions.ProtocolError, urllib3.exceptions.TimeoutError) as error:
                broken = error  # amid the answer, where the pool tries no more
            except (urllib3.exceptions.HTTPError, ValueError) as error:
                raise ConfigError(f"source.url={self.url}: {_in_short(error)}.") from None
        raise self._no_answer(broken)

    def _whole(self, answer: urllib3.BaseHTTPResponse) -> bytes:
        """What it says, as long as it comes to an end: a byte now and then would otherwise keep a reader for ever.

        Raises:
            TransientError: it has no end.
        """
        blocks, size, end = [], 0, time.monotonic() + _LONGEST_ANSWER * self.timeout_s
        try:
            while block := answer.read1(_BLOCK):
                blocks.append(block)
                size += len(block)
                if size > _LARGEST_ANSWER or time.monotonic() > end:
                    raise TransientError(
                        f"{self.url}: an answer without end ({size:,} bytes so far); check source.url, or the network."
                    )
        finally:
            answer.close()  # which keeps the connection of an answer that was read to its end
        return b"".join(blocks)

    def _no_answer(self, reason: Exception | None) -> TransientError:
        return TransientError(
            f"{self.url}: no answer after {self.attempts} attempt{'s' * (self.attempts > 1)} "
            f"({_in_short(reason)}); check source.url, and that the server is up."
        )

    def _data(self, status: int, told: bytes) -> Any:
        if 300 <= status < 400:
            raise self._no_prometheus("it redirects, to a login page perhaps")
        try:
            body = json.loads(told)
        except ValueError:
            if status >= 400:
                raise DataError(f"{self.url}: refused with status {status}{_advice(status)}.") from None
            if told.lstrip()[:1] == b"<":
                raise self._no_prometheus("it answers with a web page") from None
            raise DataError(f"{self.url}: the answer is no whole JSON ({len(told)} bytes); try again.") from None
        if isinstance(body, dict) and body.get("status") == "success":
            if body.get("warnings"):
                raise DataError(f"{self.url}: gave a part only: {'; '.join(map(str, body['warnings']))}")
            return body.get("data")
        if not isinstance(body, dict) or "error" not in body:
            raise self._no_prometheus(f"status {status} and no result")
        words = " ".join(str(body["error"]).split())
        if status in {422, 503} and ("too many samples" in words or "timed out" in words):
            raise _TooMuchError(words)
        raise DataError(f"{self.url}: refused with status {status}{_advice(status)}: {words}")

    def _no_prometheus(self, why: str) -> DataError:
        return DataError(f"{self.url}: not a Prometheus ({why}); set source.url to the root of its HTTP API.")

    @cached_property
    def _pool(self) -> urllib3.PoolManager:
        # A redirect is not followed: it would carry the headers to a place that nobody named.
        retries = Retry(
            total=self.attempts - 1,
            redirect=False,
            raise_on_redirect=False,
            status_forcelist=_BUSY,
            raise_on_status=False,
            backoff_factor=0.5,
            backoff_jitter=0.5,
            backoff_max=_LONGEST_BACKOFF_S,
            retry_after_max=_LONGEST_RETRY_AFTER_S,
        )
        if self.ca_file is not None and not Path(self.ca_file).is_file():
            raise ConfigError(f"source.ca_file={self.ca_file}: no such file.")
        timeout = Timeout(connect=self.timeout_s, read=self.timeout_s)
        return urllib3.PoolManager(retries=retries, timeout=timeout, ca_certs=self.ca_file)


def _frame(result: list[dict[str, Any]]) -> pl.DataFrame:
    """A matrix as SAMPLES; "NaN" and "+Inf" are what they say."""
    series = [json.dumps({k: v for k, v in one["metric"].items() if k != "__name__"}, sort_keys=True) for one in result]
    points = [one.get("values", []) for one in result]
    seconds = pl.Series([point[0] for some in points for point in some], dtype=pl.Float64)
    values = pl.Series([point[1] for some in points for point in some], dtype=pl.String)
    labels = pl.DataFrame({"series": series, "length": [len(some) for some in points]}, schema_overrides=_LABELS)
    return pl.DataFrame(
        {
            # Times are milliseconds; as a Float64 of seconds they are a hair off.
            "time": (seconds * 1e3).round().cast(pl.Int64).cast(pl.Datetime("ms", "UTC")).cast(UTC),
            "series": labels.select(pl.col("series").repeat_by("length").explode(empty_as_null=False))["series"],
            "value": values.cast(pl.Float64, strict=False),
        },
        schema=SAMPLES,
    )


_LABELS = {"series": pl.String, "length": pl.UInt32}


def _window(density: float, step_s: int | None) -> timedelta:
    """How long a chunk of so many samples a second may be."""
    window = max(timedelta(seconds=_SAMPLES_PER_ANSWER / density), _SHORTEST)
    if step_s is None:
        return _aligned(window, None)
    return max(_aligned(min(window, timedelta(seconds=_MOST_POINTS * step_s)), step_s), timedelta(seconds=step_s))


def _aligned(window: timedelta, step_s: int | None) -> timedelta:
    unit = timedelta(seconds=step_s or 1)
    return window // unit * unit


def _unix(moment: datetime) -> str:
    return f"{moment.timestamp():.3f}"


def _in_short(error: Exception | None) -> str:
    """What went wrong, without the connection's description before it."""
    return " ".join(str(error).split()).split("): ", 1)[-1].rstrip(".") or type(error).__name__


def _advice(status: int) -> str:
    return {401: " (check source.headers_env)", 403: " (check source.headers_env)", 404: " (check source.url)"}.get(
        status, ""
    )
