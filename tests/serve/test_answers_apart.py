"""The end of a graph beside it: a bundle is let in only where both say the same."""

from pathlib import Path

import onnx
import pytest
from fleets import fleet
from onnx import numpy_helper
from planned import write_planned

from forecast.bundle.answer import ANSWER
from forecast.bundle.load import load
from forecast.bundle.manifest import Manifest
from forecast.contracts.errors import BundleError


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_planned(tmp_path / "made", "k1", fleet())


def test_a_bundle_has_the_end_of_its_graph_or_has_not(bundle: Path, tmp_path: Path) -> None:
    assert load(bundle).answer is not None
    assert load(write_planned(tmp_path / "whole", "k1", fleet(), apart=False)).answer is None


def test_an_end_of_another_graph_is_refused(bundle: Path) -> None:
    graph = onnx.load(bundle / ANSWER)
    (response,) = (one for one in graph.graph.initializer if one.name == "response")
    response.CopyFrom(numpy_helper.from_array(1.1 * numpy_helper.to_array(response), "response"))
    onnx.save(graph, bundle / ANSWER)
    rehashed(bundle)
    with pytest.raises(BundleError, match="golden"):
        load(bundle)


@pytest.mark.parametrize("content", [b"", b"no graph"])
def test_an_end_that_is_no_graph_is_refused(bundle: Path, content: bytes) -> None:
    (bundle / ANSWER).write_bytes(content)
    with pytest.raises(BundleError, match=f"{ANSWER}: its SHA-256"):
        load(bundle)
    rehashed(bundle)
    with pytest.raises(BundleError, match=ANSWER):
        load(bundle)


def rehashed(bundle: Path) -> None:
    """Let the manifest vouch for what is there now."""
    Manifest.read(bundle).write(bundle)
