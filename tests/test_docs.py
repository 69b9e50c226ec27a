"""What the docs name is there: files and headings that they link to, commands, experiments and modules."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def headings(page: Path) -> list[str]:
    """Of the second and third order."""
    return re.findall(r"^###? (.*)$", page.read_text(), re.MULTILINE)


def anchor(heading: str) -> str:
    """As GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text()):
        name, _, place = link.partition("#")
        there = (page.parent / name).resolve() if name else page
        assert there.exists(), link
        assert not place or place in map(anchor, headings(there)), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_exists(page: Path) -> None:
    text = page.read_text()
    assert set(re.findall(r"(?:`|^)make ([a-z-]+)", text, re.MULTILINE)) <= TARGETS
    for name in re.findall(r"experiment=(\w+)", text):
        assert (ROOT / "configs" / "experiment" / f"{name}.yaml").exists(), name
    for name in re.findall(r"python -m ((?:forecast|serve|benchmarks)[\w.]*)", text):
        path = ROOT / name.replace(".", "/")
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), name
    for name in re.findall(r"(?:python|pytest) ((?:docs|tests|benchmarks)/[\w/.]+)", text):
        assert (ROOT / name).exists(), name


def test_the_log_of_what_was_tried_lists_all_its_headings() -> None:
    page = ROOT / "docs" / "experiments.md"
    contents, _, body = page.read_text().partition("## Contents\n")[2].partition("\n## ")
    listed = re.findall(r"\[([^]]+)\]\(#[^)]+\)", contents)
    assert listed == re.findall(r"^###? (.*)$", f"## {body}", re.MULTILINE)
