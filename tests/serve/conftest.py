"""The bundle and the registry of a server under test, and a server that is asked the same as a peer's."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fleets import fleet, publish, write_bundle
from protocol_peers import DEVIATIONS, SERVERS, Peer, case_of, kserve
from running import Hands, running


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        case, server = case_of(item.name)
        reason = DEVIATIONS.get(item.path.stem, {}).get(case)
        if server == "kserve" and reason:
            item.add_marker(pytest.mark.xfail(reason=f"KServe {reason}", strict=True))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of a small fleet's forecast; what is damaged are copies of it."""
    return write_bundle(tmp_path_factory.mktemp("bundle") / "made", "k1", fleet())


@pytest.fixture(scope="module")
def shared_registry(made: Path) -> Path:
    """A registry with that bundle as version k1, for tests that publish nothing."""
    publish(made.parent / "registry", made, "k1")
    return made.parent / "registry"


@pytest.fixture
def registry(made: Path, tmp_path: Path) -> Path:
    """The same of one test alone, which may publish there."""
    publish(tmp_path / "registry", made, "k1")
    return tmp_path / "registry"


@pytest.fixture
def hands() -> Hands:
    """The server's clock, for tests in which time goes on."""
    return Hands()


@pytest.fixture(scope="session", params=SERVERS)
def peer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    folder = tmp_path_factory.mktemp("peer")
    made = write_bundle(folder / "made", "made", fleet())
    if request.param == "kserve":
        yield from kserve(made / "model.onnx", folder / "log")
        return
    publish(folder / "registry", made, "k1")
    with running(folder / "registry", grpc=True) as server:
        yield Peer("fleetcast", server.address, f"127.0.0.1:{server.grpc_port}")
