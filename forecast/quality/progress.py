"""How far an examination is: alive on a terminal, a line now and then in a log, and never in the report."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from forecast.traces.trace import Progress

#: A log has a line for each of so many parts.
_LINES = 4


@contextmanager
def told(what: str) -> Iterator[Progress]:
    """Tell standard error how far `what` is."""
    console = Console(stderr=True, highlight=False)
    if console.is_terminal:
        with console.status(what) as status:
            yield lambda share: status.update(f"{what}  {share:4.0%}")
        return
    lines = 0

    def tell(share: float) -> None:
        nonlocal lines
        if int(share * _LINES) > lines and share < 1:
            lines = int(share * _LINES)
            console.print(f"{what}  {share:.0%}", markup=False, soft_wrap=True)

    yield tell
