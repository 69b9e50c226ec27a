"""A small fleet with a bundle whose graph answers to plans: made by hand, in milliseconds; or exported, in seconds."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import torch
from every_model import SKUS, build, random_inputs
from fleets import SPEC
from onnx import TensorProto, helper, numpy_helper
from onnx.utils import Extractor

from forecast.bundle.answer import ANSWER
from forecast.bundle.export import export
from forecast.bundle.golden import write_golden
from forecast.bundle.manifest import Manifest
from forecast.bundle.session import INPUTS, MARGINAL, MODEL, OUTPUTS, Session
from forecast.contracts.signals import LEVELS
from forecast.contracts.specs import CALENDAR
from forecast.contracts.topology import Topology
from forecast.models.graph import ForecastGraph
from forecast.models.what_if import WhatIf
from forecast.windows.arrays import Inputs
from forecast.windows.gather import Batch

PLANNED = replace(SPEC, future=(*CALENDAR, "planned_power_w"))

#: °C per W at each of the steps after it was drawn, and how far the quantiles stand apart, W and °C.
RESPONSE = 0.02 * 0.5 ** np.arange(PLANNED.horizon_steps)
_APART = np.linspace(-40.0, 40.0, 5)[:, None] * np.linspace(1.0, 2.0, 8)


def write_planned(folder: Path, key: str, topology: Topology, *, apart: bool = True) -> Path:
    """The load is the mean of the context or the plan, give or take; temperature its mean, and what the plan warms.

    Args:
        folder, key, topology: of the bundle.
        apart: whether the end of the graph stands beside it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    graph = _graph()
    if apart:
        onnx.save(Extractor(graph).extract_model([MARGINAL, *INPUTS], list(OUTPUTS)), folder / ANSWER)
    else:
        del graph.graph.output[-1]
    onnx.save(graph, folder / MODEL)
    inputs = Inputs(*(tensor.numpy() for tensor in random_inputs(PLANNED, 3)))
    write_golden(folder, inputs, Session((folder / MODEL).read_bytes()).run(inputs))
    Manifest(key, "day-ahead", PLANNED, topology, topology.skus, None, {}, []).write(folder)
    return folder


def export_planned(folder: Path, key: str, topology: Topology) -> Path:
    """An untrained model with the answer to plans that it would learn."""
    folder.mkdir(parents=True, exist_ok=True)
    offsets = torch.zeros(len(LEVELS) + 1, len(PLANNED.targets), len(PLANNED.quantile_levels), PLANNED.horizon_steps)
    model = build("linear", PLANNED.unplanned, noise=0.1)
    graph = ForecastGraph(model, offsets, PLANNED, WhatIf(PLANNED, SKUS)).eval()
    export(graph, Batch(*random_inputs(PLANNED, 4), torch.empty(0)), folder)
    Manifest(key, "day-ahead", PLANNED, topology, topology.skus, None, {}, []).write(folder)
    return folder


def _graph() -> onnx.ModelProto:
    steps, levels = PLANNED.horizon_steps, len(PLANNED.quantile_levels)
    lag = np.arange(steps) - np.arange(steps)[:, None]
    constants = {
        "zero": np.array([0], np.int64),
        "one": np.array([1], np.int64),
        "two": np.array([2], np.int64),
        "three": np.array([3], np.int64),
        "plan_at": np.array([PLANNED.future.index("planned_power_w")], np.int64),
        "plan_end": np.array([len(PLANNED.future)], np.int64),
        "time": np.array([2], np.int64),
        "nothing": np.array(0.0, np.float32),
        "some": np.array(1.0, np.float32),
        "apart": _APART[None].astype(np.float32),
        "read": (1 + np.linspace(-0.016, 0.016, levels))[None, :, None].astype(np.float32),
        "response": np.where(lag >= 0, RESPONSE[np.clip(lag, 0, steps - 1)], 0.0)[None].astype(np.float32),
        "last": np.array([-1], np.int64),
        "back": np.array([-(2**31)], np.int64),
        "levels": np.array([2], np.int64),
        "scale": np.array(100.0, np.float32),
    }
    nodes = [
        ("Slice", ["past", "zero", "two", "one"], "seen"),
        ("IsNaN", ["seen"], "unknown"),
        ("Where", ["unknown", "nothing", "seen"], "known"),
        ("ReduceSum", ["known", "time"], "total"),
        ("Where", ["unknown", "nothing", "some"], "ones"),
        ("ReduceSum", ["ones", "time"], "count"),
        ("Max", ["count", "some"], "counted"),
        ("Div", ["total", "counted"], "means"),
        ("Slice", ["means", "zero", "one", "one"], "usual"),
        ("Slice", ["means", "one", "two", "one"], "warmth"),
        ("Slice", ["future", "plan_at", "plan_end", "one"], "plan"),
        ("IsNaN", ["plan"], "free"),
        ("Max", ["plan", "nothing"], "possible"),
        ("Add", ["usual", "apart"], "doubtful"),
        ("Add", ["warmth", "apart"], "warm"),
        ("Unsqueeze", ["doubtful", "one"], "doubtful4"),
        ("Unsqueeze", ["warm", "one"], "warm4"),
        ("Concat", ["doubtful4", "warm4"], MARGINAL),
        ("Slice", [MARGINAL, "zero", "one", "one"], "unplanned4"),
        ("Squeeze", ["unplanned4", "one"], "unplanned"),
        ("Slice", [MARGINAL, "one", "two", "one"], "alone4"),
        ("Squeeze", ["alone4", "one"], "alone"),
        ("Slice", ["unplanned", "two", "three", "one"], "held"),
        ("Where", ["free", "held", "possible"], "imposed"),
        ("Sub", ["imposed", "held"], "more"),
        ("MatMul", ["more", "response"], "warmed"),
        ("Mul", ["imposed", "read"], "measured"),
        ("Where", ["free", "unplanned", "measured"], "load"),
        ("Add", ["alone", "warmed"], "heat"),
        ("Unsqueeze", ["load", "one"], "load4"),
        ("Unsqueeze", ["heat", "one"], "heat4"),
        ("Concat", ["load4", "heat4"], "quantiles"),
        ("Slice", ["static", "zero", "two", "one"], "limits"),
        ("Unsqueeze", ["limits", "two"], "limits3"),
        ("Unsqueeze", ["limits3", "time"], "limits4"),
        ("Slice", ["quantiles", "last", "back", "levels", "last"], "flipped"),
        ("Sub", ["limits4", "flipped"], "headroom"),
        ("Slice", ["quantiles", "two", "three", "levels"], "median4"),
        ("Squeeze", ["median4", "levels"], "median"),
        ("Sub", ["median", "limits3"], "over"),
        ("Div", ["over", "scale"], "scaled"),
        ("Sigmoid", ["scaled"], "exceedance"),
    ]
    made = [
        helper.make_node(kind, inputs, [output], **({"axis": 1} if kind == "Concat" else {}))
        for kind, inputs, output in nodes
    ]
    targets = len(PLANNED.targets)
    shapes = {
        "past": ["batch", len(PLANNED.past), PLANNED.context_steps],
        "future": ["batch", len(PLANNED.future), steps],
        "static": ["batch", len(PLANNED.static)],
        "quantiles": ["batch", targets, levels, steps],
        "headroom": ["batch", targets, levels, steps],
        "exceedance": ["batch", targets, steps],
        MARGINAL: ["batch", targets, levels, steps],
    }
    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    weights = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(made, "planned", tensors[:3], tensors[3:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
