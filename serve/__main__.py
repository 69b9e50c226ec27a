"""Forecasts from published bundles: one into a file, or a server that keeps the newest and answers.

`python -m serve COMMAND --help` tells more. Nothing here needs PyTorch.
"""

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import Any

from forecast.contracts.errors import FAILURES, ExitCode, tell


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return its exit code."""
    options = _parser().parse_args(arguments)
    try:
        code: int = options.command(options)
    except FAILURES as error:
        return tell(error, str(getattr(options, "telemetry", None) or getattr(options, "source", None) or "serve"))
    return code


def _forecast(options: argparse.Namespace) -> int:
    # Late, here and below, so that --help and a mistyped option are answered at once.
    from serve.once import run  # noqa: PLC0415

    return run(options)


def _run(options: argparse.Namespace) -> int:
    from forecast.traces.kinds import read_source  # noqa: PLC0415
    from forecast.traces.trace import parse_utc  # noqa: PLC0415
    from serve.log import log_to_stderr  # noqa: PLC0415
    from serve.run import newest_of, run  # noqa: PLC0415
    from serve.settings import EngineSettings, HttpSettings, Limits  # noqa: PLC0415

    def chosen(kind: type[Any]) -> dict[str, Any]:
        """The options that are settings of this kind."""
        names = {field.name for field in dataclasses.fields(kind)}
        return {name: value for name, value in vars(options).items() if name in names and value is not None}

    log_to_stderr(options.log)
    http = HttpSettings(**chosen(HttpSettings), limits=Limits(**chosen(Limits)))
    source = read_source(options.source) if options.source else None
    told = {"names": tuple(options.names), "as_of": None, "source": source}
    engine = EngineSettings(**{**chosen(EngineSettings), **told})
    if options.as_of is not None:
        at = newest_of(engine) if options.as_of == "newest" else parse_utc(options.as_of, "--as-of")
        engine = dataclasses.replace(engine, as_of=at)
    return run(engine, http, options.sinks)


def _key(options: argparse.Namespace) -> int:
    from serve.http.keys import add_key  # noqa: PLC0415

    print(add_key(options.keys, options.name, options.scopes.split(",")))
    print(f"added to {options.keys}; it is shown this once and kept as a hash", file=sys.stderr)
    return ExitCode.PUBLISHED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m serve",
        description=__doc__,
        epilog="examples:\n"
        "  python -m serve run --registry var/registry --telemetry var/fleet/telemetry --as-of newest\n"
        "  curl localhost:8080/v2/models/day-ahead\n"
        "  python -m serve forecast --bundle var/registry/day-ahead/current --telemetry telemetry/ --out f.parquet",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_forecast(commands)
    _add_run(commands)
    _add_key(commands)
    return parser


def _add_forecast(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    forecast = commands.add_parser(
        "forecast",
        help="one forecast of the whole fleet, from telemetry in files",
        description="Forecast every entity of a bundle's fleet from recent telemetry, and write one row per entity "
        "and step: quantiles of load and temperature, headroom, exceedance, and where each came from.",
        epilog="example: python -m serve forecast --bundle var/registry/day-ahead/current "
        "--telemetry telemetry/ --out forecasts.parquet",
    )
    forecast.add_argument("--bundle", type=Path, required=True, help="folder of a published bundle, e.g. .../current")
    where = forecast.add_mutually_exclusive_group(required=True)
    where.add_argument(
        "--telemetry",
        help="Parquet (file, folder or glob), CSV or TSV (file or glob) with columns time, entity_id and the signals; "
        "or in the form of the files the bundle was trained on",
    )
    where.add_argument(
        "--source",
        type=Path,
        metavar="FILE",
        help="or a description of files, a Prometheus or a simulated fleet, with its schedule and weather; see "
        "`serve run --help`",
    )
    for option, table in (("--jobs", "job schedule"), ("--weather", "weather")):
        forecast.add_argument(
            option,
            help=f"for a bundle that looks at it: the {table}, with the columns of its contract or in the form of the "
            f"files the bundle was trained on",
        )
    forecast.add_argument(
        "--adaptation",
        type=Path,
        help="a file that remembers recent forecasts from run to run (.npz, made where there is none): what came of "
        "them moves the quantiles of this one, so that intervals hold what they promise while loads drift",
    )
    forecast.add_argument("--out", type=Path, required=True, help="where to write: .parquet or .csv")
    forecast.add_argument(
        "--at",
        help="forecast time, ISO, UTC unless it says otherwise; rounded down to the grid; default: after the "
        "newest complete step",
    )
    forecast.set_defaults(command=_forecast)


def _add_run(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    run = commands.add_parser(
        "run",
        help="a server: the newest forecast of every fleet in a registry, kept up to date",
        description="Watch a registry and telemetry, forecast the whole fleet again and again, and answer: the Open\n"
        "Inference Protocol under /v2, telemetry pushed to /v1/telemetry, metrics under /metrics. A bundle that is\n"
        "published comes into service within seconds if it is sound. Stale telemetry is answered by a fallback, and\n"
        "labelled. SIGTERM ends the server when what it was asked is answered.",
        epilog="examples:\n"
        "  a record, played from its end as if it were now:\n"
        "    python -m serve run --registry var/registry --telemetry var/fleet/telemetry --as-of newest\n"
        "  a Prometheus, as it was trained on:\n"
        "    python train.py source=prometheus source.url=http://prom:9090 --cfg job --package source > site.yaml\n"
        "    python -m serve run --registry /srv/registry --source site.yaml\n"
        "  its last days in a few minutes:\n"
        "    python -m serve run ... --as-of 2026-04-01 --speed 600 --every-s 1\n"
        "  telemetry that is pushed, for clients elsewhere who show a key:\n"
        "    python -m serve key dispatcher --keys keys.json --scopes read,infer,push\n"
        "    python -m serve run --registry /srv/registry --keys keys.json --host 0.0.0.0",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = run.add_argument_group("what is forecast")
    what.add_argument("--registry", type=Path, required=True, help="folder that `python train.py` publishes to")
    what.add_argument(
        "--forecast",
        dest="names",
        metavar="NAME",
        action="append",
        default=[],
        help="one of its forecasts (default: all)",
    )
    pulled = what.add_mutually_exclusive_group()
    pulled.add_argument(
        "--telemetry", help="files to follow, in the form of `serve forecast --telemetry` (default: only pushes)"
    )
    pulled.add_argument(
        "--source",
        type=Path,
        metavar="FILE",
        help="or follow what this YAML or JSON describes: the settings.json of a training run, a YAML of "
        "configs/source/, or what `python train.py source=NAME --cfg job --package source` prints",
    )
    what.add_argument("--jobs", help="job schedule, for bundles that look at it (default: that of --source)")
    what.add_argument("--weather", help="weather, likewise")
    what.add_argument("--topology", help="the fleet of today, Parquet or CSV (default: that of each bundle)")
    what.add_argument("--state", type=Path, help="folder that keeps what is learnt from outcomes, from start to start")
    what.add_argument("--every-s", type=float, metavar="S", help="between two looks at what is new (default: 60)")
    what.add_argument("--as-of", metavar="TIME", help="play a record from an ISO time, or from its `newest` step")
    what.add_argument("--speed", type=float, metavar="X", help="so many times as fast (default: 1; 0 stands still)")
    what.add_argument(
        "--sink",
        dest="sinks",
        metavar="URL",
        action="append",
        default=[],
        help="write each forecast there too: parquet:FOLDER, mqtt://HOST/PREFIX, nats://… or kafka://…; docs/sinks.md",
    )
    where = run.add_argument_group("who may ask, and where")
    where.add_argument("--host", help="default: 127.0.0.1; any other needs --keys")
    where.add_argument("--port", type=int, help="default: 8080; 0 takes a free one and logs it")
    where.add_argument("--grpc-port", type=int, metavar="PORT", help="gRPC too (default: off); 0 takes a free one")
    where.add_argument("--keys", type=Path, help="file of API keys, read again when it changes (default: no keys)")
    where.add_argument("--workers", type=int, help="threads that run inference requests (default: 2)")
    where.add_argument(
        "--metrics-level",
        metavar="LEVEL",
        help="forecasts under /metrics of entities from this level on (default: rack)",
    )
    where.add_argument("--linger-s", type=float, metavar="S", help="go on so long, unready, after SIGTERM (default: 0)")
    where.add_argument("--drain-s", type=float, metavar="S", help="then wait so long for answers (default: 30)")
    where.add_argument("--body-bytes", type=int, metavar="N", help="of a request at most (default: 8388608)")
    where.add_argument("--log", choices=["debug", "info", "warning"], default="info", help="JSON lines on stderr")
    run.set_defaults(command=_run)


def _add_key(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    key = commands.add_parser(
        "key",
        help="make an API key",
        description="Make an API key, print it once, and add its hash to a file for `serve run --keys`. To withdraw a "
        "key, delete its entry; the server notices.",
        epilog="example: curl -H 'authorization: Bearer fc_...' https://forecasts.example/v2/models/day-ahead",
    )
    key.add_argument("name", help="who will use it")
    key.add_argument("--keys", type=Path, default=Path("keys.json"), help="file to add to (default: keys.json)")
    key.add_argument("--scopes", default="read,infer", help="of read, infer, push, metrics (default: read,infer)")
    key.set_defaults(command=_key)


if __name__ == "__main__":
    sys.exit(main())
