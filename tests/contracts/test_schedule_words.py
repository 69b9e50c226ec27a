"""Words of a schedule that mean another thing than they seem to are named; those that schedulers use are not."""

import polars as pl
import pytest

from forecast.contracts.schedule import strange_words

STATUS = "has rows of status {!r}, which count for nothing; what is to come is running, queued, reserved"
KIND = "has rows of kind {!r}, which count as jobs; the word is {!r}"


def said(*rows: tuple[str | None, str | None]) -> list[str]:
    return list(strange_words(pl.LazyFrame(list(rows), schema={"kind": pl.String, "status": pl.String}, orient="row")))


@pytest.mark.parametrize("status", ["RUNNING", "Queued", "reserved ", "pending", "ACTIVE"])
def test_a_status_that_reads_like_work_to_come_is_named(status: str) -> None:
    assert said(("training", status), ("training", "running")) == [STATUS.format(status)]


@pytest.mark.parametrize("status", ["planned", "approved", "", None])
def test_a_plan_of_an_unknown_status_is_named(status: str | None) -> None:
    assert said(("plan", status)) == [STATUS.format(status)]
    assert said(("training", status)) == [], "schedulers have many words for jobs that are over"


def test_a_kind_that_is_misspelt_is_named_while_it_counts_as_a_job() -> None:
    assert said(("Plan", "reserved"), ("maintenance ", "queued"), ("CAP", "cancelled")) == [
        KIND.format("Plan", "plan"),
        KIND.format("maintenance ", "maintenance"),
    ]


def test_each_word_is_named_once_and_what_is_right_or_over_is_not() -> None:
    assert said(("plan", "planned"), ("cap", "planned"), ("x", "PENDING")) == [
        STATUS.format("PENDING"),
        STATUS.format("planned"),
    ]
    fine = [
        ("training", "queued"),
        ("plan", "reserved"),
        ("plan", "Cancelled"),
        ("maintenance", "done"),
        (None, "done"),
    ]
    assert said(*fine, ("batch", "node_fail"), ("batch", "timeout")) == []
