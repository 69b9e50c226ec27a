"""The servers that the protocol's tests run against, each with the same graph: ours, and KServe's as a peer."""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from loopback import free_port, wait_until
from running import ask
from smoke_run import ROOT

SERVERS = ("fleetcast", "kserve")

_KSERVE = ROOT / ".venv-kserve" / "bin" / "python"


_DETAIL = "answers 422 and `detail` instead of `error` where a body is not of its model"
_CODING = "reads no Content-Encoding, which is HTTP's and not the protocol's"

#: What KServe is known to do otherwise, by case; the suite fails as soon as it no longer does.
DEVIATIONS = {
    "test_open_inference": {
        **{
            f"test_a_mistake_is_refused_with_a_reason[{mistake}]": _DETAIL
            for mistake in ("no inputs", "inputs that are no list", "no datatype", "no shape", "no data")
        },
        **{f"test_what_is_no_request_is_refused[{body}]": _DETAIL for body in ("", "{", "[]", "null", r"\xff\xfe")},
        "test_a_mistake_is_refused_with_a_reason[text for a number]": "takes text that looks like a number for one",
        "test_outputs_as_bytes_where_they_are_asked_for_so[of all outputs]": "does not apply binary_data_output to "
        "outputs that are named",
        "test_tritons_client_gets_the_same_in_either_form[False]": "wants to be told application/json, which Triton's "
        "client does not do",
        "test_tritons_client_compresses_both_ways[gzip]": _CODING,
        "test_tritons_client_compresses_both_ways[deflate]": _CODING,
    },
    "test_open_inference_grpc": {
        f"test_a_version_that_is_not_told_is_refused[{method}]": "does not look at the version"
        for method in ("ModelReady", "ModelMetadata")
    },
}


def case_of(name: str) -> tuple[str, str]:
    """A test's name without its server, and the server; which is empty where it has none."""
    test, _, rest = name.removesuffix("]").partition("[")
    server, dash, parameters = rest.partition("-")
    if server not in SERVERS:
        return name, ""
    return (f"{test}[{parameters}]" if dash else test), server


@dataclass(frozen=True)
class Peer:
    """A server of the protocol: where it speaks HTTP and gRPC, and the model it has."""

    name: str
    http: str
    grpc: str
    model: str = "day-ahead"


def kserve(model: Path, log: Path) -> Iterator[Peer]:
    if not _KSERVE.exists():
        pytest.skip("no KServe; `make test` builds its environment (.venv-kserve)")
    http, grpc = free_port(), free_port()
    command = [_KSERVE, Path(__file__).parent / "kserve_peer.py", model, str(http), str(grpc)]
    with log.open("w") as sink, subprocess.Popen(command, stdout=sink, stderr=sink) as server:
        try:
            wait_until(lambda: server.poll() is not None or is_ready(f"127.0.0.1:{http}"), "KServe is ready", 120)
            assert server.poll() is None, log.read_text()
            yield Peer("kserve", f"127.0.0.1:{http}", f"127.0.0.1:{grpc}")
        finally:
            server.terminate()


def is_ready(address: str) -> bool:
    try:
        return ask(address, "GET", "/v2/models/day-ahead/ready").status == 200
    except OSError:
        return False
