"""The page's charts: small for any length of record, and the worst day never averaged away."""

import re
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from records import Record, examined

from forecast.quality.charts import completeness, faults_by_day, offsets, shade
from forecast.quality.page import page
from forecast.quality.quality import Clocks, Quality

FIRST = date(2023, 1, 1)


@pytest.fixture(scope="module")
def found(faulty: Record) -> Quality:
    return examined(faulty.folder)


def stretched(quality: Quality, shares: list[float | None]) -> Quality:
    """The report of as many days, all levels like that."""
    days = tuple(FIRST + timedelta(days=day) for day in range(len(shares)))
    coverage = tuple(replace(row, by_day=tuple(shares)) for row in quality.coverage[:2])
    counts = {fault: tuple(range(1, len(days) + 1)) for fault in list(quality.faults_by_day)[:2]}
    return replace(quality, days=days, coverage=coverage, faults_by_day=counts)


@given(st.lists(st.none() | st.floats(0, 1), min_size=2, max_size=800))
def test_every_record_draws_and_shows_its_worst_day(found: Quality, shares: list[float | None]) -> None:
    drawn = completeness(stretched(found, shares))
    root = ElementTree.fromstring(drawn)  # noqa: S314  our own
    rects = [part for part in root if part.tag == "rect"]
    known = [share for share in shares if share is not None]
    assert len(rects) <= 2 * 184
    assert bool(rects) == bool(known)
    if known:
        assert f"s{shade(min(known))}" in {rect.get("class") for rect in rects}
        assert all(0 <= float(rect.get("x", "nan")) + float(rect.get("width", "nan")) <= 1081 for rect in rects)
    ElementTree.fromstring(faults_by_day(stretched(found, shares)))  # noqa: S314  our own


def test_shades_tell_all_from_nearly_all() -> None:
    assert [shade(share) for share in (None, 0.0, 0.49, 0.5, 0.8, 0.95, 0.9989, 0.999, 1.0)] == [
        0,
        1,
        1,
        2,
        3,
        4,
        4,
        5,
        5,
    ]


def test_a_page_of_ten_years_is_small(found: Quality) -> None:
    shares: list[float | None] = [day % 100 / 100 for day in range(3653)]
    assert len(page(stretched(found, shares))) < 150_000


def test_a_page_is_the_same_for_the_same_report_and_loads_nothing(found: Quality, tmp_path: Path) -> None:
    text = page(found)
    assert page(found) == text
    assert not re.search(r"(src|href)=|url\(|@import", text)


def test_one_day_and_one_clock_have_no_chart(found: Quality) -> None:
    assert completeness(stretched(found, [0.5])) == ""
    assert faults_by_day(stretched(found, [0.5])) == ""
    assert offsets(Clocks(1, 0, (), (-1.0, 1.0), (1,))) == ""
