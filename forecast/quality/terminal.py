"""A report on a terminal."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from forecast.quality.quality import Quality
from forecast.quality.words import Section, facts, headline, reasons, sections


def print_quality(quality: Quality, console: Console) -> None:
    """Print all tables, and the verdict first and last: a long report scrolls it away."""
    for name, value in facts(quality).items():
        console.print(Text(f"{name:<15} {value}"))
    for section in sections(quality):
        console.print()
        _print_section(section, console)
    console.print()
    console.print(Text(headline(quality), style="bold green" if quality.fit else "bold red"))
    for reason in reasons(quality):
        console.print(Text(f"- {reason}"))


def _print_section(section: Section, console: Console) -> None:
    console.print(Text(section.title, style="bold"))
    if not section.rows:
        console.print(Text(section.nothing))
        return
    table = Table(show_edge=False, pad_edge=False, show_lines=False)
    for at, column in enumerate(section.columns):
        last = at == len(section.columns) - 1
        table.add_column(
            column, justify="right" if at in section.numbers else "left", overflow="fold", ratio=last or None
        )
    for row in section.rows:
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)
