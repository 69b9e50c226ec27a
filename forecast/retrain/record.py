"""What a run tells machines about itself: a log line per step, a manifest, its settings, and metrics."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any

from forecast.contracts.errors import ConfigError, ExitCode, FleetcastError, ending, one_line
from forecast.contracts.version import key_of
from forecast.disk import write_whole
from forecast.registry.store import Registry
from forecast.retrain.config import JobConfig, plain
from forecast.retrain.metrics import exposition

#: Beside the bundle in the folder of a run.
MANIFEST, LOG, SETTINGS = "run.json", "log.jsonl", "settings.json"


@dataclass
class Record:
    """The files of one run, kept while it lasts and closed whatever its end.

        run.json       what ran, on what, how it ended; written when the run begins, and replaced when it ends
        log.jsonl      one JSON object a step, appended as each ends
        settings.json  every setting as plain data

    A run that was killed has a `run.json` whose `exit_code` is null.

    Args:
        config: resolved.
        out: folder of the run; made if need be.
        echo: where each log line goes beside the file.

    Attributes:
        facts: what became known and belongs into `run.json`: the run key, the watermark, the verdict, ...
        code: what the process exits with, from the end of the run on.
    """

    config: JobConfig
    out: Path
    echo: Callable[[str], object] | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    code: ExitCode | None = None
    _steps: list[dict[str, Any]] = field(default_factory=list)

    def __enter__(self) -> "Record":
        _check(self.config.metrics_file)
        if (self.out / "bundle").exists():
            raise ConfigError(f"hydra.run.dir: {self.out} has the bundle of another run; name a folder for this one.")
        settings = plain(self.config)
        self._began, self._clock = datetime.now(UTC), monotonic()
        self.facts |= {"settings_hash": key_of(settings)}
        self.out.mkdir(parents=True, exist_ok=True)
        _write(self.out / SETTINGS, settings)
        _write(self.out / MANIFEST, self._manifest(None))
        return self

    def step(self, told: dict[str, Any], facts: dict[str, Any]) -> None:
        """Log one step that ended.

        Args:
            told: what every step tells: `step`, `seconds`, `outcome`, `said`.
            facts: what this one found out.
        """
        self._steps.append({name: told[name] for name in ("step", "seconds", "outcome")})
        self.facts |= facts
        self.line(told | facts)

    def line(self, told: dict[str, Any]) -> None:
        """Append a line to the log, with the time and the name of the forecast."""
        text = json.dumps({"time": _text(datetime.now(UTC)), "forecast": self.config.name, **told})
        with (self.out / LOG).open("a", encoding="utf-8") as file:
            file.write(text + "\n")
        if self.echo is not None:
            self.echo(text)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        failed = error is not None
        said, self.code = (
            ending(error, "the telemetry") if error is not None else (None, self.code or ExitCode.PUBLISHED)
        )
        try:
            self._close(self.code, said)
        except OSError as full:
            if not failed:
                raise
            # What ended the run matters more than that its end cannot be written down.
            print(f"error: {one_line(f'{full.filename or self.out}: {full.strerror or full}')}", file=sys.stderr)

    def _close(self, code: ExitCode, error: str | None) -> None:
        manifest = self._manifest(code, error)
        self.line({"step": "end", **{name: manifest[name] for name in ("seconds", "exit_code", "outcome", "error")}})
        _write(self.out / MANIFEST, manifest)
        if self.config.metrics_file is not None:
            text = exposition(manifest, _published(self.config))
            write_whole(Path(self.config.metrics_file), lambda file: file.write(text))

    def _manifest(self, code: ExitCode | None, error: str | None = None) -> dict[str, Any]:
        ended = code is not None
        return {
            "format": 1,
            "forecast": self.config.name,
            "began": _text(self._began),
            "ended": _text(datetime.now(UTC)) if ended else None,
            "seconds": round(monotonic() - self._clock, 3) if ended else None,
            "exit_code": None if code is None else int(code),
            "outcome": None if code is None else code.name.lower(),
            "error": error,
            "steps": self._steps,
            **self.facts,
        }


def _check(metrics_file: str | None) -> None:
    """Before the work, not after it."""
    if metrics_file is None:
        return
    path = Path(metrics_file)
    if path.suffix != ".prom":
        raise ConfigError(f"metrics_file={metrics_file} must end in .prom; node_exporter reads no other file.")
    if not path.parent.is_dir():
        raise ConfigError(f"metrics_file={metrics_file}: there is no folder {path.parent}; make it first.")


def _published(config: JobConfig) -> datetime | None:
    """When the version in service came into service."""
    try:
        return Registry(Path(config.registry.root), config.name, config.registry.keep).served_since()
    except (FleetcastError, OSError):
        return None


def _write(path: Path, content: dict[str, Any]) -> None:
    text = json.dumps(content, indent=1)
    write_whole(path, lambda file: file.write(text.encode()))


def _text(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds")
