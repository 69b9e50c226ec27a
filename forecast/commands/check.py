"""`python -m forecast check`: what can be said of telemetry before anything is trained on it."""

import argparse
import difflib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from forecast.contracts.errors import ConfigError, DataError, ExitCode
from forecast.traces.places import shown
from forecast.traces.trace import parse_utc

if TYPE_CHECKING:
    import polars as pl

    from forecast.quality.examine import Asked
    from forecast.quality.quality import Quality
    from forecast.retrain.config import JobConfig
    from forecast.traces.trace import Progress, Trace

#: Beside the package in a checkout, as for train.py.
_CONFIGS = Path(__file__).parents[2] / "configs"

_EPILOG = """\
PATH is one of

  files      a Parquet file, a folder of Parquet, a glob, a CSV or TSV file, or a URL of them (s3://, gs://, az://,
             https://), with the columns time, entity_id and the signals (power_w, temperature_c, inlet_c,
             utilization_ratio). The fleet tree is that of --topology, else topology.parquet or topology.csv beside
             PATH or above it; without one every entity stands alone, without limits.
  a source   a YAML of configs/source, by name (google_pdu) or path (my/source/fleet.yaml), with the settings that
             `python train.py` takes after it. This needs the install for training.

examples:
  python -m forecast check var/fleet/telemetry
  python -m forecast check 's3://lake/telemetry/day=2026-01-*/*.parquet' --topology s3://lake/topology.parquet
  python -m forecast check telemetry.csv --step-s 60 --now 2026-03-01T06:00 --html quality.html
  python -m forecast check google_pdu
  python -m forecast check harvard_ipmi source.path=day.parquet --html quality.html --json quality.json

exit codes: 0 fit for training, 2 wrong usage, 20 not fit, or not to be read at all; the last lines say why.
"""


@dataclass(frozen=True, eq=False)
class Opened:
    """A source, what is asked of it, and the resets of its energy counters where it has some."""

    trace: "Trace"
    asked: "Asked"
    resets: "pl.DataFrame | None" = None


def run(options: argparse.Namespace) -> int:
    """Examine, print and write what was asked for; return the exit code.

    Raises:
        FleetcastError, OSError, PolarsError: what `forecast.contracts.errors.tell` tells.
    """
    # Late, so that --help and a mistyped option need no compiled code.
    from forecast.quality.examine import examine  # noqa: PLC0415
    from forecast.quality.progress import told  # noqa: PLC0415
    from forecast.quality.terminal import print_quality  # noqa: PLC0415
    from forecast.tables import console  # noqa: PLC0415

    write_page = _page_writer() if options.html else None
    with told(f"examining {shown(options.path)}") as progress:
        opened = _of_settings(options, progress) if _is_source(options.path) else _of_files(options)
        quality = examine(opened.trace, opened.asked, progress, opened.resets)
    print_quality(quality, console())
    if options.json:
        _write(options.json, json.dumps(asdict(quality) | {"fit": quality.fit}, default=str, indent=1) + "\n")
    if write_page:
        _write(options.html, write_page(quality))
    return ExitCode.PUBLISHED if quality.fit else ExitCode.DATA_REFUSED


def _is_source(path: str) -> bool:
    """Whether PATH names a YAML of settings and no telemetry."""
    named = (_CONFIGS / "source" / f"{path}.yaml").exists() and not Path(path).exists()
    return named or path.endswith((".yaml", ".yml"))


def _of_files(options: argparse.Namespace) -> Opened:
    from forecast.quality.lake import lake  # noqa: PLC0415

    if options.settings:
        raise ConfigError(f"{options.settings[0]}: files take no settings; put them into a source's YAML.")
    try:
        trace, signals, targets = lake(options.path, options.topology)
    except DataError as error:
        raise DataError(f"{error}{_meant(options.path)}") from error
    return Opened(trace, _asked(options, signals, targets, 300, 4.0))


def _meant(path: str) -> str:
    """The source whose name is like a word that is no path."""
    names = [file.stem for file in (_CONFIGS / "source").glob("*.yaml")]
    near = difflib.get_close_matches(path, names, n=1, cutoff=0.5) if Path(path).suffix == "" else []
    return f" Did you mean the source {near[0]!r}?" if near and not Path(path).exists() else ""


def _of_settings(options: argparse.Namespace, progress: "Progress") -> Opened:
    from forecast.contracts.specs import ForecastSpec  # noqa: PLC0415
    from forecast.traces.long import LongSource  # noqa: PLC0415
    from forecast.traces.metrics import resets  # noqa: PLC0415
    from forecast.traces.read import read_trace  # noqa: PLC0415

    if options.topology:
        raise ConfigError("--topology is for files; a source has its own: source.topology=...")
    config = _composed(options.path, options.settings)
    ForecastSpec.from_dict(asdict(config.window))  # what training refuses is refused before anything is read
    trace, window = read_trace(config.source, progress), config.window
    counted = None
    if isinstance(config.source, LongSource):
        counted = resets(config.source.samples(trace.topology), config.source.metrics)
    asked = _asked(options, tuple(window.past), tuple(window.targets), window.step_s, config.memory_gb)
    return Opened(trace, asked, counted)


def _composed(path: str, settings: Sequence[str]) -> "JobConfig":
    """The settings of a training run on a source.

    Raises:
        ConfigError: settings that cannot be, no such file, or the install for training is missing.
    """
    try:
        from hydra import compose, initialize_config_dir  # noqa: PLC0415
        from hydra.errors import HydraException  # noqa: PLC0415
        from omegaconf.errors import OmegaConfBaseException  # noqa: PLC0415
        from yaml import YAMLError  # noqa: PLC0415

        from forecast.retrain.config import register  # noqa: PLC0415
        from forecast.retrain.mistakes import explain, settings_of  # noqa: PLC0415
    except ImportError as error:
        raise ConfigError(
            f"{path}: a source needs the install for training: pip install 'fleetcast[train]'."
        ) from error
    file = Path(path)
    elsewhere = [f"hydra.searchpath=[file://{file.resolve().parents[1]}]"] if file.suffix else []
    if file.suffix and not (file.is_file() and file.parent.resolve().name == "source"):
        raise ConfigError(f"{path}: no such file in a folder called source; that is where settings of sources lie.")
    register()
    try:
        with initialize_config_dir(str(_CONFIGS), version_base="1.3"):
            return settings_of(compose("config", overrides=[*elsewhere, f"source={file.stem}", *settings]))
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(explain(error, _CONFIGS)) from error
    except YAMLError as error:
        raise ConfigError(f"{path}: a YAML file cannot be read: {' '.join(str(error).split())}") from error


def _asked(
    options: argparse.Namespace, signals: tuple[str, ...], targets: tuple[str, ...], step_s: int, memory_gb: float
) -> "Asked":
    from forecast.quality.examine import Asked  # noqa: PLC0415

    return Asked(
        where=shown(options.path),
        signals=signals,
        targets=targets,
        step_s=options.step_s or step_s,
        now=parse_utc(options.now, "--now") if options.now else None,
        memory_gb=options.memory_gb or memory_gb,
    )


def _page_writer() -> Callable[["Quality"], str]:
    """Known to be there before the work begins.

    Raises:
        ConfigError: the page's package is not installed.
    """
    try:
        from forecast.quality.page import page  # noqa: PLC0415
    except ImportError as error:
        raise ConfigError("--html needs the install for training: pip install 'fleetcast[train]'.") from error
    return page


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command; settings of a source may stand anywhere after PATH."""
    check = commands.add_parser(
        "check",
        help="a quality report of telemetry, and whether training should proceed on it",
        usage="python -m forecast check PATH [KEY=VALUE ...] [options]",
        description="Look through telemetry from end to end and say per signal and level how complete it is, what is "
        "wrong with it and what is done about that, who came and went, which units the values fit, whose clock is off, "
        "and whether training should proceed.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    check.add_argument("path", metavar="PATH", help="files of telemetry, or a source; see below")
    check.add_argument("--topology", metavar="FILE", help="the fleet tree of files: Parquet or CSV with its columns")
    check.add_argument(
        "--now",
        metavar="ISO",
        help="what the clock says, UTC unless it says otherwise: rows from later are from the future, and telemetry "
        "that is not complete up to 24 h before is too old to train on. Default: the clock, and age is not judged",
    )
    check.add_argument(
        "--step-s", type=_step, metavar="S", help="grid step in seconds; default 300, or the source's window.step_s"
    )
    check.add_argument(
        "--memory-gb", type=float, metavar="GB", help="what the process may hold; default 4, or the source's memory_gb"
    )
    check.add_argument("--html", type=Path, metavar="FILE", help="write the report as a page that fetches nothing")
    check.add_argument("--json", type=Path, metavar="FILE", help="write all that was found as JSON")
    check.set_defaults(run=run, reading=lambda options: shown(options.path), takes_settings=True)


def _step(text: str) -> int:
    if not text.isdecimal() or not int(text) or 86_400 % int(text):
        raise argparse.ArgumentTypeError(f"{text} does not divide a day; use e.g. 60, 300 or 3600")
    return int(text)
