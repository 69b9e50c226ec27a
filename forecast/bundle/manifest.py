"""What a bundle says of itself: plain JSON, nothing that names code to run."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from forecast.contracts.errors import BundleError, FleetcastError
from forecast.contracts.specs import ForecastSpec
from forecast.contracts.tables import TOPOLOGY
from forecast.contracts.topology import Topology
from forecast.disk import write_whole

FORMAT = 1
NAME = "manifest.json"

#: Where a bundle lies in the folders that are given in its place: of a run, of a forecast, of a registry.
_BUNDLES = tuple(f"{at}/{NAME}" for at in ("bundle", "current", "*/current"))

#: What parsing someone else's file can raise.
_DAMAGE = (KeyError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError, pl.exceptions.PolarsError)

_KINDS: dict[str, Any] = {
    "bundle_id": str,
    "name": str,
    "spec": dict,
    "topology": dict,
    "skus": list,
    "source": dict | None,
    "training": dict,
    "scores": list,
    "files": dict,
}


@dataclass(frozen=True, eq=False)
class Manifest:
    """The contents of `manifest.json`.

    Attributes:
        bundle_id: the run key.
        name: of the forecast.
        spec: the graph's interface, with channels, units by name, and quantile levels.
        topology: the fleet it was made for, with limits.
        skus: the vocabulary of `sku_code`.
        source: mapping of the raw files it was trained on, to read their like; None where they kept the contract.
        training: what it was made from: ranges, watermark, code version, model, parameters, opset.
        scores: rows of `scores.json`, from the backtest.
        files: SHA-256 of every other file.
    """

    bundle_id: str
    name: str
    spec: ForecastSpec
    topology: Topology
    skus: tuple[str, ...]
    source: dict[str, Any] | None
    training: dict[str, Any]
    scores: list[dict[str, Any]]
    files: dict[str, str] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Hash every file in `folder` and write the manifest beside them, last; wait until the disk has it.

        Raises:
            OSError: the disk refused; there is no new manifest.
        """
        files = {path.name: sha256(path.read_bytes()) for path in sorted(folder.iterdir()) if path.name != NAME}
        data = {
            "format": FORMAT,
            **{name: getattr(self, name) for name in ("bundle_id", "name", "skus", "source", "training", "scores")},
            "spec": self.spec.to_dict(),
            "topology": self.topology.table.to_dict(as_series=False),
            "files": files,
        }
        plain = json.loads(json.dumps(data, default=str))
        text = _text({**plain, "digest": digest_of(plain)})
        write_whole(folder / NAME, lambda file: file.write(text.encode()))

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """Parse `folder`'s manifest.

        Raises:
            BundleError: absent, not JSON, of another format, or incomplete.
        """
        path = folder / NAME
        if not path.is_file():
            near = next((found.parent for at in _BUNDLES for found in sorted(folder.glob(at))), None)
            hint = f", such as {near}" if near else ""
            raise BundleError(
                f"{folder}: not a bundle, it has no {NAME}; give the folder of a published version{hint}."
            )
        try:
            data = json.loads(path.read_text())
            if data["format"] != FORMAT:
                raise BundleError(
                    f"{path}: format {data['format']} is not the format {FORMAT} that this version reads."
                )
            if data["digest"] != digest_of(data):
                raise BundleError("its content is not what its digest says; it was altered.")
            return cls._of(data)
        except _DAMAGE as error:
            reason = " ".join(str(error).split())
            raise BundleError(f"{path}: damaged ({type(error).__name__}: {reason}).") from error
        except FleetcastError as error:
            raise BundleError(f"{path}: {error}") from error

    @classmethod
    def _of(cls, data: dict[str, Any]) -> "Manifest":
        for name, kind in _KINDS.items():
            if not isinstance(data[name], kind):
                raise TypeError(f"{name} is {type(data[name]).__name__}")
        columns = {**TOPOLOGY.required, **TOPOLOGY.optional}
        known = {name: kind for name, kind in columns.items() if name in TOPOLOGY.required or name in data["topology"]}
        table = pl.DataFrame(data["topology"], schema=known)
        return cls(
            spec=ForecastSpec.from_dict(data["spec"]),
            topology=Topology.of(table, NAME),
            skus=tuple(data["skus"]),
            **{name: data[name] for name in ("bundle_id", "name", "source", "training", "scores", "files")},
        )


def is_as_written(text: str) -> bool:
    """Whether a manifest's text is what `Manifest.write` makes of its data: no byte was changed, even to no effect."""
    try:
        return text == _text(json.loads(text))
    except (ValueError, RecursionError):
        return False


def _text(data: Mapping[str, Any]) -> str:
    return json.dumps(data, indent=1)


def digest_of(data: Mapping[str, Any]) -> str:
    """SHA-256 over a manifest's data but for its own `digest`, in canonical JSON."""
    rest = {name: value for name, value in data.items() if name != "digest"}
    return sha256(json.dumps(rest, sort_keys=True).encode())


def sha256(content: bytes) -> str:
    """Hash a file's content, 64 hex digits."""
    return hashlib.sha256(content).hexdigest()
