"""`python -m forecast registry`: what is published, whether it is sound, and back to what was before."""

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from forecast.contracts.errors import ConfigError, ExitCode

_ROOT = Path("var/registry")

_DESCRIPTION = """\
Look after published bundles. Reading needs no lock and disturbs nobody; rollback and prune take the lock that
publishing takes, and are refused while another run holds it.
"""

_EPILOG = """\
A registry is a folder; each named forecast in it has its versions, one bundle each, and two links: current, which is
in service, and previous, which was before it. VERSION is a key, the beginning of one, current or previous.

examples:
  python -m forecast registry list
  python -m forecast registry show day-ahead
  python -m forecast registry verify                      # everything: from cron, say, beside the training job
  python -m forecast registry rollback day-ahead          # back to previous; once more, and forward again
  python -m forecast registry rollback day-ahead --to 1ede27dc
  python -m forecast registry prune day-ahead --keep 3 --dry-run
  python -m forecast registry export day-ahead --to mlflow http://mlflow:5000
  python -m forecast registry export day-ahead --to triton /srv/models

exit codes: 0 done, or sound; 2 wrong usage; 20 a bundle, link or journal is not as it was published; 30 another run is
writing to it; 40 MLflow is away; 50 disk.
"""


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and those below it."""
    group = commands.add_parser(
        "registry",
        help="published bundles: list, show, verify, rollback, prune, export",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = group.add_subparsers(title="commands", required=True, metavar="COMMAND")

    listing = _verb(verbs, "list", _list, "every version of every forecast, newest first")
    listing.add_argument("--name", metavar="NAME", help="of this forecast only")
    listing.add_argument("--json", action="store_true", help="print JSON")

    show = _verb(verbs, "show", _show, "one bundle: what it forecasts, from what it was made, its scores, its verdict")
    show.add_argument("name", nargs="?", metavar="NAME", help="the forecast; may be left out where there is only one")
    show.add_argument("version", nargs="?", metavar="VERSION", default="current", help="default: current")
    show.add_argument("--json", action="store_true", help="print JSON")

    verify = _verb(verbs, "verify", _verify, "hashes, golden vectors, links and journal; a line for each problem")
    verify.add_argument("name", nargs="?", metavar="NAME", help="the forecast; default: all of them")
    verify.add_argument("versions", nargs="*", metavar="VERSION", help="default: all, with the links and the journal")

    rollback = _verb(verbs, "rollback", _rollback, "put previous, or another version, back into service")
    rollback.add_argument("name", metavar="NAME", help="the forecast")
    rollback.add_argument("--to", metavar="VERSION", help="default: previous")

    prune = _verb(verbs, "prune", _prune, "delete old versions, but for current and previous")
    prune.add_argument("name", metavar="NAME", help="the forecast")
    prune.add_argument("--keep", type=int, required=True, metavar="N", help="versions to keep, newest first")
    prune.add_argument("--dry-run", action="store_true", help="say what would be deleted, and delete nothing")

    export = _verb(verbs, "export", _export, "the current bundle to another registry, or another server")
    export.add_argument("name", metavar="NAME", help="the forecast")
    export.add_argument(
        "--to",
        nargs=2,
        required=True,
        metavar=("KIND", "WHERE"),
        help="mlflow URI: a tracking server; needs pip install 'fleetcast[mlflow]', and credentials are MLflow's own "
        "(MLFLOW_TRACKING_TOKEN, ...). triton FOLDER: a model repository of the Triton Inference Server",
    )


def _verb(
    verbs: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    run: Callable[[argparse.Namespace], int],
    help_: str,
) -> argparse.ArgumentParser:
    parser = verbs.add_parser(name, help=help_, description=f"{help_[0].upper()}{help_[1:]}.")
    parser.add_argument("--root", type=Path, default=_ROOT, metavar="FOLDER", help=f"of the registry; default {_ROOT}")
    parser.set_defaults(run=run, reading=lambda options: str(options.root), takes_settings=False)
    return parser


# What each command imports is late, so that --help and a mistyped option need no compiled code.


def _list(options: argparse.Namespace) -> int:
    from forecast.commands.registry_tables import print_versions  # noqa: PLC0415
    from forecast.registry.contents import forecasts, last_rejection, opened, versions  # noqa: PLC0415
    from forecast.tables import console  # noqa: PLC0415

    registries = {
        name: opened(options.root, name) for name in ([options.name] if options.name else forecasts(options.root))
    }
    found = {name: (versions(registry), last_rejection(registry)) for name, registry in registries.items()}
    if options.json:
        _print_json(
            [
                {"name": name, "versions": [asdict(version) for version in there], "rejected": last and asdict(last)}
                for name, (there, last) in found.items()
            ]
        )
    else:
        print_versions(found, options.root, console())
    return ExitCode.PUBLISHED


def _show(options: argparse.Namespace) -> int:
    from forecast.bundle.manifest import Manifest  # noqa: PLC0415
    from forecast.commands.registry_tables import print_bundle  # noqa: PLC0415
    from forecast.registry.contents import opened, verdict, version_of, versions  # noqa: PLC0415
    from forecast.tables import console  # noqa: PLC0415

    registry = opened(options.root, options.name or _only(options.root))
    folder = version_of(registry, options.version)
    manifest, said = Manifest.read(folder), verdict(folder)
    facts = next(version for version in versions(registry) if version.key == folder.name)
    if options.json:
        told = {name: getattr(manifest, name) for name in ("name", "skus", "source", "training", "scores", "files")}
        spec, entities = manifest.spec.to_dict(), len(manifest.topology.entities)
        _print_json({**asdict(facts), **told, "spec": spec, "entities": entities, "verdict": said})
    else:
        print_bundle(manifest, facts, said, console())
    return ExitCode.PUBLISHED


def _only(root: Path) -> str:
    """The one forecast of a registry.

    Raises:
        ConfigError: there are several, or none.
    """
    from forecast.registry.contents import forecasts  # noqa: PLC0415

    names = forecasts(root)
    if len(names) != 1:
        raise ConfigError(f"{root} holds {', '.join(names) or 'no forecasts'}; name one of them.")
    return names[0]


def _verify(options: argparse.Namespace) -> int:
    from forecast.registry.contents import forecasts, opened, version_of  # noqa: PLC0415
    from forecast.registry.verify import registry_problems, version_problems  # noqa: PLC0415

    sound = True
    for name in [options.name] if options.name else forecasts(options.root):
        registry = opened(options.root, name)
        folders = [version_of(registry, word) for word in options.versions] or registry.versions()
        if not options.versions:
            sound &= _told(f"{name}: links and journal", list(registry_problems(registry)))
        for folder in folders:
            sound &= _told(f"{name} {folder.name}", list(version_problems(folder)))
    return ExitCode.PUBLISHED if sound else ExitCode.DATA_REFUSED


def _told(what: str, problems: list[str]) -> bool:
    """Print the problems, or that there are none; whether there are none."""
    for line in [f"problem: {problem}" for problem in problems] or [f"sound: {what}"]:
        print(line, flush=True)
    return not problems


def _rollback(options: argparse.Namespace) -> int:
    from forecast.bundle.load import load  # noqa: PLC0415
    from forecast.registry.contents import opened, version_of  # noqa: PLC0415

    registry = opened(options.root, options.name)
    with registry.lock():
        target = registry.rollback_target(version_of(registry, options.to).name if options.to else None)
        before = registry.folder / "current"
        if before.resolve() == target.resolve():
            print(f"{options.name}: {target.name} is in service already")
            return ExitCode.PUBLISHED
        load(target)  # what is damaged is refused, and what serves stays
        left = before.readlink().name if before.is_symlink() else "nothing"
        registry.rollback(target.name)
    print(f"{options.name}: {target.name} is in service, instead of {left}")
    return ExitCode.PUBLISHED


def _prune(options: argparse.Namespace) -> int:
    from forecast.registry.contents import opened  # noqa: PLC0415

    registry = opened(options.root, options.name, options.keep)
    if options.dry_run:
        gone, done = registry.superfluous(), "would be deleted"
    else:
        with registry.lock():
            gone, done = registry.prune(), "deleted"
    for folder in gone:
        print(f"{options.name}: {folder.name} {done}")
    print(f"{options.name}: {len(gone)} {done}, {len(registry.versions())} there")
    return ExitCode.PUBLISHED


def _export(options: argparse.Namespace) -> int:
    from forecast.registry import to_mlflow, to_triton  # noqa: PLC0415
    from forecast.registry.contents import opened, version_of  # noqa: PLC0415

    kind, where = options.to
    if kind not in {"mlflow", "triton"}:
        raise ConfigError(f"--to {kind}: not known; use --to mlflow URI or --to triton FOLDER.")
    current = version_of(opened(options.root, options.name), "current")
    print(to_mlflow.export(current, where) if kind == "mlflow" else to_triton.export(current, Path(where)))
    return ExitCode.PUBLISHED


def _print_json(data: Any) -> None:
    print(json.dumps(data, default=str, indent=1))
