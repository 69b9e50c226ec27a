"""A trained graph to `model.onnx`, with golden vectors, in a folder that becomes a bundle."""

import contextlib
import io
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from forecast.bundle.answer import ANSWER
from forecast.bundle.golden import disagreements, write_golden
from forecast.bundle.session import INPUTS, MARGINAL, MODEL, OUTPUTS, Outputs, Session
from forecast.models.graph import ForecastGraph
from forecast.windows.arrays import Inputs
from forecast.windows.gather import Batch

OPSET = 20
_LARGEST_BATCH = 65_536


def export(graph: ForecastGraph, example: Batch, folder: Path) -> float:
    """Write `model.onnx` (one file, dynamic batch) and `golden.npz` into `folder`; `answer.onnx` where it takes plans.

    Args:
        graph: on the CPU, in evaluation mode.
        example: at least two windows; they become the golden vectors, some of their values made unknown, some
            of their quantiles shifted.

    Returns:
        The largest relative difference between PyTorch and ONNX Runtime on the golden vectors.
    """
    path = folder / MODEL
    arguments = tuple(part[:2] for part in (example.past, example.future, example.static))
    if graph.what_if is None:
        _write(graph, arguments, path, INPUTS, OUTPUTS)
    else:
        _write(_Whole(graph), arguments, path, INPUTS, (*OUTPUTS, MARGINAL))
        with torch.no_grad():
            marginal = graph.marginal(*arguments)
        # Of the past its end looks at what is recent, and how high it was: `forecast.bundle.answer`.
        past, *others = arguments
        glance = torch.cat([past[:, :, :1], past[:, :, past.shape[2] - graph.what_if.recent :]], dim=2)
        _write(_Answer(graph), (marginal, glance, *others), folder / ANSWER, (MARGINAL, *INPUTS), OUTPUTS)
    inputs = Inputs(
        *(part.numpy() for part in (_punctured(example.past), example.future, _shifted(example.static, graph)))
    )
    expected = torch_outputs(graph, inputs)
    write_golden(folder, inputs, expected)
    actual = Session(path.read_bytes()).run(inputs)
    return max(disagreements(actual, expected).values())


@torch.no_grad()
def torch_outputs(graph: ForecastGraph, inputs: Inputs) -> Outputs:
    """What PyTorch makes of `inputs`."""
    arrays = (torch.from_numpy(array) for array in (inputs.past, inputs.future, inputs.static))
    return Outputs(*(output.numpy() for output in graph(*arrays)))


def operators(folder: Path) -> list[str]:
    """The ONNX operators that `model.onnx` uses, sorted."""
    return sorted({node.op_type for node in onnx.load(folder / MODEL).graph.node})


class _Whole(nn.Module):
    """A graph that tells the quantiles without plans besides."""

    def __init__(self, graph: ForecastGraph) -> None:
        super().__init__()
        self.deployed = graph

    def forward(self, past: Tensor, future: Tensor, static: Tensor) -> tuple[Tensor, ...]:
        marginal = self.deployed.marginal(past, future, static)
        return *self.deployed.answer(marginal, past, future, static), marginal


class _Answer(nn.Module):
    """The part of a graph that goes on from there."""

    def __init__(self, graph: ForecastGraph) -> None:
        super().__init__()
        self.deployed = graph

    def forward(self, marginal: Tensor, past: Tensor, future: Tensor, static: Tensor) -> tuple[Tensor, ...]:
        return self.deployed.answer(marginal, past, future, static)


def _write(
    module: nn.Module, arguments: tuple[Tensor, ...], path: Path, inputs: Sequence[str], outputs: Sequence[str]
) -> None:
    """Write a module as ONNX, with names and a dynamic batch."""
    batch = torch.export.Dim("batch", min=1, max=_LARGEST_BATCH)
    with quiet():
        program = torch.onnx.export(
            module,
            arguments,
            dynamo=True,
            opset_version=OPSET,
            external_data=False,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_shapes=({0: batch},) * len(arguments),
            verbose=False,
        )
    assert program is not None  # noqa: S101 - as dynamo=True promises
    program.save(path, external_data=False)
    onnx.checker.check_model(path)


def _shifted(static: Tensor, graph: ForecastGraph) -> Tensor:
    """Static inputs with shifts of the quantiles (`forecast.adaptation`) in every second window."""
    columns = graph.calibration.shifts
    shifts = torch.linspace(-0.8, 0.8, max(len(columns), 1))[: len(columns)]
    shifted = static.clone()
    shifted[1::2, columns] = shifts
    return shifted


def _punctured(past: Tensor) -> Tensor:
    """The context with a tenth of its values unknown, the same ones every time."""
    holes = np.random.default_rng(0).random(past.shape) < 0.1
    return past.masked_fill(torch.from_numpy(holes), torch.nan)


@contextlib.contextmanager
def quiet():  # type: ignore[no-untyped-def]
    """The exporter narrates on stdout and warns of what it handles."""
    levels = {name: logging.getLogger(name).level for name in ("torch.onnx", "onnxscript")}
    for name in levels:
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)
