"""Bundles that are not sound, put in a registry as no publisher of ours would."""

import json
import shutil
import zipfile
from pathlib import Path

import onnx
from hand_made import greedy
from onnx import helper

from forecast.bundle.manifest import Manifest, sha256

MIB = 1024**2


def copied(made: Path, registry: Path, key: str) -> Path:
    """A version that nothing points to, whole as yet."""
    folder = registry / "day-ahead" / "versions" / key
    shutil.copytree(made, folder)
    rehash(folder, key)
    return folder


def point(registry: Path, key: str) -> None:
    """Let `current` point to a version."""
    link = registry / "day-ahead" / "link"
    link.symlink_to(f"versions/{key}")
    link.replace(registry / "day-ahead" / "current")


def rehash(folder: Path, key: str | None = None) -> None:
    """Let the manifest be true of the files as they are."""
    kept = Manifest.read(folder)
    again = Manifest(key or kept.bundle_id, kept.name, kept.spec, kept.topology, kept.skus, None, {}, [], kept.files)
    again.write(folder)


def shorten(folder: Path) -> None:
    model = folder / "model.onnx"
    model.write_bytes(model.read_bytes()[:-100])


def rewrite(folder: Path) -> None:
    """A graph that is whole and not the one whose hash is told."""
    (folder / "model.onnx").write_bytes((folder / "golden.npz").read_bytes())


def shorten_and_rehash(folder: Path) -> None:
    shorten(folder)
    rehash(folder)


def outside(folder: Path) -> None:
    """A graph, well hashed, whose constants lie in a file beside it."""
    model = onnx.load(folder / "model.onnx")
    onnx.save_model(model, folder / "model.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    rehash(folder)


def soft_link(folder: Path) -> None:
    (folder / "model.onnx").rename(folder.parent.parent / "aside.onnx")
    (folder / "model.onnx").symlink_to("../../aside.onnx")


def hard_link(folder: Path) -> None:
    (folder.parent.parent / "twice.onnx").hardlink_to(folder / "model.onnx")


def swell(folder: Path) -> None:
    """A hole of 513 MiB, which takes no room on the disk."""
    with (folder / "model.onnx").open("ab") as file:
        file.truncate(513 * MIB)


def bomb(folder: Path) -> None:
    """Golden vectors that say they take 8 GiB, in a file of a kilobyte."""
    head = str({"descr": "<f4", "fortran_order": False, "shape": (2**31,)}).encode().ljust(117) + b"\n"
    with zipfile.ZipFile(folder / "golden.npz", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("past.npy", b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head + bytes(MIB))
    rehash(folder)


def devour(folder: Path) -> None:
    """A graph that asks for 2 GiB."""
    model = onnx.load(folder / "model.onnx")
    last = model.graph.node[-1]
    output, last.output[0] = last.output[0], "sound"
    blank = helper.make_node("Mul", ["detour", "none"], ["blank"])
    model.graph.node.extend([*greedy(), blank, helper.make_node("Add", ["sound", "blank"], [output])])
    onnx.save(model, folder / "model.onnx")
    rehash(folder)


def other_key(folder: Path) -> None:
    """The manifest of another version."""
    rehash(folder, "other")


def alter(folder: Path) -> None:
    """A manifest that says something else than what its digest was made of."""
    told = json.loads((folder / "manifest.json").read_text())
    told["topology"]["power_limit_w"] = [9e9] * len(told["topology"]["power_limit_w"])
    (folder / "manifest.json").write_text(json.dumps(told))


def nest(folder: Path) -> None:
    (folder / "manifest.json").write_text("[" * 100_000)


def escape(folder: Path) -> None:
    """A manifest that lists a file elsewhere."""
    told = json.loads((folder / "manifest.json").read_text())
    told["files"]["../../../../../../etc/hostname"] = sha256(b"")
    (folder / "manifest.json").write_text(json.dumps(told))


def unlist(folder: Path) -> None:
    (folder / "manifest.json").unlink()
