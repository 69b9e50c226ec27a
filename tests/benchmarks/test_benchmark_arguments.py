"""Benchmarks that take nothing on their command line say so, instead of measuring for minutes and recording."""

import sys
from importlib import import_module

import pytest

COMMANDS = ["physics", "simulator", "features", "poll", "gate"]


@pytest.mark.parametrize(("given", "code"), [("--help", 0), ("--tasks=A", 2)])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_without_options_measures_nothing_where_one_is_given(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str, given: str, code: int
) -> None:
    name = f"benchmarks.{command}"
    module = import_module(f"{name}.__main__" if command == "gate" else name)
    monkeypatch.setattr(sys, "argv", [command, given])
    with pytest.raises(SystemExit) as ended:
        module.main()
    assert ended.value.code == code
    told = capsys.readouterr()
    assert f"usage: python -m {name} [-h]" in told.out + told.err
