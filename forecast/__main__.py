"""`python -m forecast`: telemetry before anything is trained on it, and bundles after they are published."""

import argparse
import sys

from forecast.commands import check, registry
from forecast.contracts.errors import FAILURES, tell


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return its exit code."""
    options = _options(arguments)
    try:
        code: int = options.run(options)
    except FAILURES as error:
        code = tell(error, options.reading(options))
    return code


def _options(arguments: list[str] | None) -> argparse.Namespace:
    """What was asked; the words that are left over are settings, where the command takes any."""
    parser = argparse.ArgumentParser(prog="python -m forecast", description=__doc__)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in (check, registry):
        command.add(commands)
    options, rest = parser.parse_known_args(arguments)
    wrong = [word for word in rest if not options.takes_settings or word.startswith("-") or "=" not in word]
    if wrong:
        parser.error(f"unrecognized arguments: {' '.join(wrong)}")
    options.settings = rest
    return options


if __name__ == "__main__":
    sys.exit(main())
