"""What may be published, or happen to what is, while the server's process runs: docs/serving_faults.md."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import unsound
from attacked import FORECAST, Attacked, attacked
from fleets import publish
from loopback import wait_until


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


QUICK = [unsound.outside, unsound.hard_link, unsound.devour]
SLOW = [
    unsound.shorten,
    unsound.shorten_and_rehash,
    unsound.soft_link,
    unsound.swell,
    unsound.bomb,
    unsound.other_key,
    unsound.alter,
    unsound.nest,
    unsound.escape,
    unsound.unlist,
]


@pytest.mark.parametrize("damage", [*QUICK, *(pytest.param(damage, marks=pytest.mark.slow) for damage in SLOW)])
def test_a_bundle_that_is_not_sound_never_comes_into_service(
    server: Attacked, made: Path, damage: Callable[[Path], None]
) -> None:
    before, reloads, resident = version(server), server.metric("fleetcast_reloads_total"), server.resident_bytes
    damage(unsound.copied(made, server.folder / "registry", f"bad-{damage.__name__}"))
    unsound.point(server.folder / "registry", f"bad-{damage.__name__}")
    wait_until(lambda: server.metric("fleetcast_reloads_total") == reloads + 1, "it is refused")
    assert refused(server)
    assert version(server) == before
    assert server.resident_bytes - resident < 64 * unsound.MIB
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
