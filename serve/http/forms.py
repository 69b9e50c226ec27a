"""One answer in the form that its asker takes: JSON for people and small tools, Arrow IPC or Parquet for many rows."""

import io
from collections.abc import Mapping
from typing import Any

import orjson
import polars as pl
from starlette.responses import Response

from serve.http.answers import Json
from serve.refusals import BadRequestError, NotAcceptableError

JSON = "application/json"
ARROW = "application/vnd.apache.arrow.stream"
PARQUET = "application/vnd.apache.parquet"

#: What is given, the one first that is meant where anything would do.
FORMS = (JSON, ARROW, PARQUET)

#: The rest of a table's answer as OpenAPI has it.
BINARY: dict[str, Any] = {form: {"schema": {"type": "string", "format": "binary"}} for form in (ARROW, PARQUET)}


def form_of(accept: str | None) -> str:
    """The form that an `Accept` header wants most, of those there are (RFC 9110 §12.5.1).

    Raises:
        NotAcceptableError: none of them.
    """
    ranges = [_weighed(told) for told in (accept or "*/*").split(",") if told.strip()]
    best = max(FORMS, key=lambda form: _weight(form, ranges))
    if _weight(best, ranges) <= 0:
        raise NotAcceptableError(f"accept: none of {', '.join(FORMS)}, the forms that there are.")
    return best


def check_rows(form: str, rows: int, most: int) -> None:
    """Refuse more rows than go out in JSON, before any is made.

    Raises:
        BadRequestError: saying what to ask for instead.
    """
    if form == JSON and rows > most:
        raise BadRequestError(
            f"accept: {rows} rows are more than the {most} that go out as JSON; ask for fewer entities or steps, or "
            f"for {ARROW}."
        )


def encoded(form: str, head: Mapping[str, Any], table: pl.DataFrame, *, columns: bool) -> Response:
    """A table in one of `FORMS`.

    Args:
        head: what JSON says before the rows; in the other forms each row says it itself.
        columns: whether JSON has `columns` rather than `rows`.
    """
    if form == JSON:
        return Json({**head, **({"columns": _columns(table)} if columns else {"rows": records(table)})})
    stream = io.BytesIO()
    if form == ARROW:
        table.write_ipc_stream(stream, compat_level=pl.CompatLevel.oldest())
    else:
        table.write_parquet(stream)
    return Response(stream.getvalue(), media_type=form)


def records(table: pl.DataFrame) -> orjson.Fragment:
    """A table as an object per row; NaN and null are null, times ISO 8601."""
    return orjson.Fragment(table.write_json().encode())


def _columns(table: pl.DataFrame) -> dict[str, Any]:
    """Lists by column; numbers with as many digits as they have."""
    return {
        name: column.to_numpy() if column.dtype.is_float() else column.to_list()
        for name, column in table.to_dict().items()
    }


def _weighed(told: str) -> tuple[str, float]:
    """A media range and its weight."""
    media, *parameters = (part.strip().lower() for part in told.split(";"))
    weight = next((text[2:] for text in parameters if text.startswith("q=")), "1")
    try:
        return media, min(max(float(weight), 0.0), 1.0)
    except ValueError:
        return media, 0.0


def _weight(form: str, ranges: list[tuple[str, float]]) -> float:
    """The weight of the most particular range that a form is in."""
    for wanted in (form, "application/*", "*/*"):
        for media, weight in ranges:
            if media == wanted:
                return weight
    return 0.0
