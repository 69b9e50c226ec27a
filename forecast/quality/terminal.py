"""A report on a terminal."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from forecast.quality.quality import Quality
from forecast.quality.words import Section, facts, headline, reasons, sections

#: Names of entities and times are too long for a column: they follow their table.
_BELOW = "examples"


def print_quality(quality: Quality, console: Console) -> None:
    """Print all tables, and the verdict last, where a long report ends."""
    for name, value in facts(quality).items():
        _print(f"{name:<15} {value}", console)
    for section in sections(quality):
        console.print()
        _print(section.title, console, "bold")
        _print_section(section, console)
    console.print()
    _print(headline(quality), console, "bold green" if quality.fit else "bold red")
    for reason in reasons(quality):
        _print(f"- {reason}", console)


def _print_section(section: Section, console: Console) -> None:
    if not section.rows:
        _print(section.nothing, console)
        return
    below = section.columns[-1] == _BELOW
    columns = section.columns[:-1] if below else section.columns
    table = Table(show_edge=False, pad_edge=False)
    for at, column in enumerate(columns):
        table.add_column(column, justify="right" if at in section.numbers else "left", overflow="fold")
    for row in section.rows:
        table.add_row(*(Text(cell) for cell in row[: len(columns)]))
    console.print(table)
    for row in section.rows if below else ():
        named = f"{row[0]} ({row[1]})" if section.name == "faults" else row[0]
        examples = "; ".join(row[-1].splitlines())
        _print(f"  {named}: {examples}", console)


def _print(text: str, console: Console, style: str = "") -> None:
    """A line as it is: whoever wants it shorter has a terminal that wraps."""
    console.print(Text(text, style=style), soft_wrap=True)
