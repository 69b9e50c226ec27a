"""Lengths of time and numbers of things as people read them."""

import pytest

from forecast.wording import counted, span


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (15, "15 s"),
        (90, "90 s"),
        (60, "1 min"),
        (5400, "90 min"),
        (86_400, "24 h"),
        (129_600, "36 h"),
        (172_800, "2 days"),
    ],
)
def test_a_length_of_time_is_told_in_its_largest_whole_unit(seconds: int, said: str) -> None:
    assert span(seconds) == said


def test_one_thing_is_one_and_not_many() -> None:
    assert [counted(count, "origin") for count in (0, 1, 2000)] == ["0 origins", "1 origin", "2,000 origins"]
    assert [counted(count, "entity", "entities") for count in (1, 2)] == ["1 entity", "2 entities"]
