"""PyTorch and ONNX Runtime agree, for every model, at the size that is deployed. `pytest -s` prints the figures."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from every_model import MODELS, build, random_inputs
from rich.console import Console
from rich.table import Table
from smoke_run import settings
from told_jobs import SPEC as TOLD_JOBS

from forecast.bundle.export import OPSET, export, operators, quiet, torch_outputs
from forecast.bundle.golden import GOLDEN, TOLERANCE, check_golden, disagreement, disagreements
from forecast.bundle.session import MODEL, Outputs, Session
from forecast.contracts.signals import LEVELS
from forecast.contracts.specs import ForecastSpec
from forecast.models.graph import ForecastGraph
from forecast.retrain.prepare import spec_of
from forecast.windows.arrays import Inputs
from forecast.windows.gather import Batch

BATCHES = (1, 2, 7, 256)


@dataclass(frozen=True)
class Exported:
    """A model's graph in both runtimes."""

    name: str
    spec: ForecastSpec
    graph: ForecastGraph
    folder: Path
    apart: float
    session: Session


def graph_of(name: str, spec: ForecastSpec) -> ForecastGraph:
    """Weights and offsets that are not what a fresh model has, so that no part of the graph is idle."""
    offsets = 0.1 * torch.randn(
        len(LEVELS) + 1,
        len(spec.targets),
        len(spec.quantile_levels),
        spec.horizon_steps,
        generator=torch.Generator().manual_seed(3),
    )
    return ForecastGraph(build(name, spec, noise=0.02), offsets, spec).eval()


def example(spec: ForecastSpec) -> Batch:
    past, future, static = random_inputs(spec, 4)
    return Batch(past, future, static, torch.empty(0))


@pytest.fixture(scope="module", params=MODELS)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    name = request.param
    spec = spec_of(settings(f"model={name}").window)
    folder, graph = tmp_path_factory.mktemp(name), graph_of(name, spec)
    apart = export(graph, example(spec), folder)
    return Exported(name, spec, graph, folder, apart, Session((folder / MODEL).read_bytes()))


@pytest.fixture(scope="module")
def figures() -> Iterator[Table]:
    """Collects what the parity tests measured and prints it in the end."""
    table = Table("model", "batch", "missing", *Outputs._fields, title="PyTorch against ONNX Runtime, relative")
    yield table
    Console().print(table)


def inputs_of(spec: ForecastSpec, rows: int, missing: float, seed: int = 0) -> Inputs:
    """Random inputs; the first of several rows saw nothing, the second has no limits."""
    past, future, static = random_inputs(spec, rows, seed, missing)
    if rows > 2:
        past[0] = torch.nan
        static[1, :2] = torch.nan
    return Inputs(past.numpy(), future.numpy(), static.numpy())


@pytest.mark.parametrize("missing", [0.0, 0.1, 0.9])
@pytest.mark.parametrize("rows", BATCHES)
def test_both_runtimes_agree(exported: Exported, figures: Table, rows: int, missing: float) -> None:
    inputs = inputs_of(exported.spec, rows, missing, seed=rows)
    expected, actual = torch_outputs(exported.graph, inputs), exported.session.run(inputs)
    apart = disagreements(actual, expected)
    figures.add_row(exported.name, str(rows), f"{missing:.0%}", *(f"{value:.1e}" for value in apart.values()))
    assert max(apart.values()) <= TOLERANCE == 1e-4
    assert np.isfinite(actual.quantiles).all()
    assert (np.diff(actual.quantiles, axis=2) >= 0).all()


def test_a_row_alone_is_the_row_in_a_batch(exported: Exported) -> None:
    inputs = inputs_of(exported.spec, 300, 0.1)  # more than ONNX Runtime is given in one call
    together = exported.session.run(inputs)
    for row in (0, 1, 2, 255, 256, 299):
        alone = exported.session.run(Inputs(*(part[row : row + 1] for part in vars(inputs).values())))
        apart = disagreements(alone, Outputs(*(part[row : row + 1] for part in together)))
        assert max(apart.values()) <= TOLERANCE / 3


def test_the_export_reports_its_own_parity(exported: Exported) -> None:
    assert 0 <= exported.apart <= TOLERANCE


@pytest.mark.slow  # of what exporting is asked here, test_models_ahead.py asks all but a linear member beside jobs
def test_a_graph_that_is_told_jobs_agrees(tmp_path: Path) -> None:
    graph = graph_of("adaptive_cdf", TOLD_JOBS)
    assert export(graph, example(TOLD_JOBS), tmp_path) < TOLERANCE
    check_golden(tmp_path, Session((tmp_path / MODEL).read_bytes()))


def test_the_golden_vectors_hold(exported: Exported) -> None:
    check_golden(exported.folder, exported.session)
    with np.load(exported.folder / GOLDEN, allow_pickle=False) as arrays:
        assert 0.2 < np.isnan(arrays["past"]).mean() < 0.5


def test_the_graph_is_one_file_of_standard_operators(exported: Exported) -> None:
    assert sorted(path.name for path in exported.folder.iterdir()) == [GOLDEN, MODEL]
    model = onnx.load(exported.folder / MODEL, load_external_data=False)
    assert not any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in model.graph.initializer)
    assert {opset.domain: opset.version for opset in model.opset_import if opset.domain in {"", "ai.onnx"}} == {
        "": OPSET
    }
    assert all(node.domain in {"", "ai.onnx"} for node in model.graph.node)
    assert operators(exported.folder) == sorted({node.op_type for node in model.graph.node})


def test_any_host_finds_the_names_and_shapes_of_the_contract(exported: Exported) -> None:
    model, spec = onnx.load(exported.folder / MODEL).graph, exported.spec
    shape = {
        value.name: tuple(dim.dim_value or "batch" for dim in value.type.tensor_type.shape.dim)
        for value in (*model.input, *model.output)
    }
    targets, levels = len(spec.targets), len(spec.quantile_levels)
    assert shape == {
        "past": ("batch", len(spec.past), spec.context_steps),
        "future": ("batch", len(spec.future), spec.horizon_steps),
        "static": ("batch", len(spec.static)),
        "quantiles": ("batch", targets, levels, spec.horizon_steps),
        "headroom": ("batch", targets, levels, spec.horizon_steps),
        "exceedance": ("batch", targets, spec.horizon_steps),
    }


@pytest.mark.parametrize("exported", ["linear"], indirect=True)
def test_the_same_weights_export_to_the_same_bytes(exported: Exported, tmp_path: Path) -> None:
    export(graph_of(exported.name, exported.spec), example(exported.spec), tmp_path)
    for file in (MODEL, GOLDEN):
        assert (tmp_path / file).read_bytes() == (exported.folder / file).read_bytes()


def test_disagreement_is_relative_to_each_rows_own_size() -> None:
    expected = np.array([[[1000.0, 1.0]], [[10.0, 1.0]]], np.float32)
    actual = expected + np.array([[[1.0, 0.0]], [[0.0, 0.1]]], np.float32)
    assert disagreement(actual, expected) == pytest.approx(0.01, rel=1e-4)
    assert disagreement(expected, expected) == 0.0


def test_exceedance_is_measured_against_certainty() -> None:
    quantiles, rare = np.ones((1, 1, 2, 3), np.float32), np.full((1, 1, 3), 1e-4, np.float32)
    apart = disagreements(Outputs(quantiles, quantiles, rare * 1.1), Outputs(quantiles, quantiles, rare))
    assert apart["exceedance"] == pytest.approx(1e-5, rel=1e-3)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_where_it_should_be_disagrees(wrong: float) -> None:
    expected = np.ones((2, 1, 3), np.float32)
    actual = expected.copy()
    actual[1, 0, 2] = wrong
    assert disagreement(actual, expected) > 1
    assert disagreement(expected, actual) > TOLERANCE


def test_unknown_in_the_same_places_agrees() -> None:
    unknown = np.array([[[np.nan, 1.0]]], np.float32)
    assert disagreement(unknown, unknown) == 0.0


def test_what_the_exporter_narrates_is_not_the_readers_business(caplog: pytest.LogCaptureFixture) -> None:
    chatty = logging.getLogger("onnxscript.optimizer._constant_folding")
    with quiet():
        chatty.warning("Skipping constant folding")
    assert caplog.records == []
    chatty.warning("Afterwards")
    assert [record.message for record in caplog.records] == ["Afterwards"]
