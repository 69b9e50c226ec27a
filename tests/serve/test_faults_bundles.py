"""What may be published, or happen to what is, while the server's process runs: docs/serving_faults.md."""

import json
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import onnx
import pytest
from attacked import FORECAST, Attacked, attacked
from fleets import fleet, publish, write_bundle
from hand_made import greedy
from loopback import wait_until
from onnx import helper

from forecast.bundle.manifest import Manifest, sha256

MIB = 1024**2


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundle") / "made", "made", fleet())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    with attacked(tmp_path_factory.mktemp("attacked")) as server:
        yield server


def version(server: Attacked) -> str:
    return str(server.ask("GET", "/v2/models/day-ahead").json["versions"][0])


def refused(server: Attacked) -> str | None:
    """Why what is published now is not in service."""
    reason: str | None = server.ask("GET", f"{FORECAST}/status").json["bundle_refused"]
    return reason


def rehash(folder: Path, key: str | None = None) -> None:
    """Let the manifest be true of the files as they are."""
    kept = Manifest.read(folder)
    again = Manifest(key or kept.bundle_id, kept.name, kept.spec, kept.topology, kept.skus, None, {}, [], kept.files)
    again.write(folder)


def shorten(folder: Path) -> None:
    model = folder / "model.onnx"
    model.write_bytes(model.read_bytes()[:-100])


def shorten_and_rehash(folder: Path) -> None:
    shorten(folder)
    rehash(folder)


def outside(folder: Path) -> None:
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


SLOW = [shorten, shorten_and_rehash, soft_link, swell, bomb, other_key, alter, nest, escape, unlist]


def place(server: Attacked, made: Path, key: str, damage: Callable[[Path], None]) -> None:
    """Let `current` point to a damaged bundle, as no publisher of ours would."""
    folder = server.folder / "registry" / "day-ahead"
    shutil.copytree(made, folder / "versions" / key)
    rehash(folder / "versions" / key, key)
    damage(folder / "versions" / key)
    (folder / "link").symlink_to(f"versions/{key}")
    (folder / "link").replace(folder / "current")


@pytest.mark.parametrize(
    "damage", [outside, hard_link, devour, *(pytest.param(damage, marks=pytest.mark.slow) for damage in SLOW)]
)
def test_a_bundle_that_is_not_sound_never_comes_into_service(
    server: Attacked, made: Path, damage: Callable[[Path], None]
) -> None:
    before, reloads, resident = version(server), server.metric("fleetcast_reloads_total"), server.resident_bytes
    place(server, made, f"bad-{damage.__name__}", damage)
    wait_until(lambda: server.metric("fleetcast_reloads_total") == reloads + 1, "it is refused")
    assert refused(server)
    assert version(server) == before
    assert server.resident_bytes - resident < 64 * MIB
    server.assert_unharmed()
    publish(server.folder / "registry", made, f"good-{damage.__name__}")
    wait_until(lambda: version(server) == f"good-{damage.__name__}" and refused(server) is None, "a sound one is")


def test_what_is_in_service_outlives_its_files(server: Attacked, made: Path) -> None:
    registry = server.folder / "registry" / "day-ahead"
    before = version(server)
    shutil.rmtree((registry / "current").resolve())
    server.assert_unharmed()
    registry.rename(server.folder / "aside")
    server.assert_unharmed()
    (server.folder / "aside").rename(registry)
    (registry / "current").unlink()
    (registry / "current").mkdir()  # a folder, where a link belongs
    wait_until(lambda: refused(server) is not None, "it is noticed")
    server.assert_unharmed()
    assert version(server) == before
    (registry / "current").rmdir()
    publish(server.folder / "registry", made, "again")
    wait_until(lambda: version(server) == "again" and refused(server) is None, "a new one comes into service")
