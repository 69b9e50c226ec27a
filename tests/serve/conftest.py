"""The registry that a server under test watches, and the server, for what asks the same of ours and of a peer's."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fleets import fleet, publish, write_bundle
from protocol_peers import DEVIATIONS, SERVERS, Peer, case_of, kserve
from running import running


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        case, server = case_of(item.name)
        reason = DEVIATIONS.get(item.path.stem, {}).get(case)
        if server == "kserve" and reason:
            item.add_marker(pytest.mark.xfail(reason=f"KServe {reason}", strict=True))


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry with one version of a small fleet's forecast."""
    folder = tmp_path_factory.mktemp("registry")
    publish(folder / "registry", write_bundle(folder / "made", "made", fleet()), "k1")
    return folder / "registry"


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
