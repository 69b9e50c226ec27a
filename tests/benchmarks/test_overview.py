"""The page of all figures: what was missed stands out, and it is of the records beside it."""

from benchmarks.overview import RESULTS, markdown, page

MAKEFILE = "bench-zero-shot: setup  ## Sites never seen; an hour\n\ttrue\nsoak: setup  ## A season\n\ttrue\n"


def record(**figures: tuple[float, float | None, str]) -> dict[str, object]:
    told = {name: dict(zip(("value", "goal", "better"), figure, strict=True)) for name, figure in figures.items()}
    return {"date": "2026-11-23", "machine": "a processor, 1 core", "figures": told}


def test_goals_are_counted_and_those_missed_are_listed() -> None:
    records = {
        "soak": record(days_lost=(0, 0, "lower"), published=(17, None, "higher")),
        "zero_shot": record(near=(1.04, 1.05, "lower"), far=(1.1, 1.05, "lower"), ahead=(9.0, 10.0, "higher")),
    }
    text = markdown(records, MAKEFILE)
    assert "| `make soak` | A season | 1 of 1 | 2026-11-23, a processor, 1 core |" in text
    assert "| `make bench-zero-shot` | Sites never seen | 1 of 3 |" in text
    missed = text.partition("## Missed")[2].partition("## All")[0].splitlines()
    assert [line.split(" | ")[1] for line in missed if "`make" in line] == ["far", "ahead"]
    assert "| published | 17 | – | – |" in text


def test_the_page_is_of_the_records_beside_it() -> None:
    assert (RESULTS / "README.md").read_text() == page(), "run python -m benchmarks.overview"
