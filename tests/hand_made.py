"""Bundles with a graph of a few nodes, made by hand: sound, or hostile in one way."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import polars as pl
from onnx import NodeProto, TensorProto, helper, numpy_helper

from forecast.bundle.golden import write_golden
from forecast.bundle.manifest import Manifest
from forecast.bundle.session import MODEL, Outputs
from forecast.contracts.specs import ForecastSpec
from forecast.contracts.topology import Topology
from forecast.windows.arrays import Inputs

SPEC = ForecastSpec(
    step_s=3600,
    context_steps=4,
    horizon_steps=3,
    targets=("power_w",),
    past=("power_w",),
    quantile_levels=(0.1, 0.5, 0.9),
)
ROWS = 2
LEVELS = np.array([100.0, 200.0, 300.0], np.float32)
#: Far more turns than a test waits for; 2 GiB.
FOREVER = 2**62
TOO_MANY = 2**29


def topology() -> Topology:
    rows = {"entity_id": ["site", "a"], "parent_id": [None, "site"], "level": ["site", "server"], "sku": ["mixed", "x"]}
    columns = rows | {"power_limit_w": [800.0, 400.0], "temperature_limit_c": [None, None]}
    table = pl.DataFrame(columns | {"site": ["site"] * 2, "time_zone": ["UTC"] * 2})
    return Topology.of(table.cast({"temperature_limit_c": pl.Float64}))


def scores(wql: float = 0.1) -> list[dict[str, object]]:
    segment = {"target": "power_w", "mae": 10.0, "mase": 0.8, "coverage_80": 0.8, "coverage_98": 0.98, "windows": 9}
    return [
        {**segment, "level": level, "method": method, "wql": value}
        for level in ("server", "site")
        for method, value in (("fleetcast", wql), ("persistence", 0.2), ("seasonal_naive_24h", 0.4))
    ]


def make_bundle(
    folder: Path,
    key: str = "k1",
    levels: np.ndarray = LEVELS,
    detour: Sequence[NodeProto] = (),
    wql: float = 0.1,
    limit_w: float = 400.0,
    spec: ForecastSpec = SPEC,
) -> Path:
    """Write a bundle whose forecast of every window are `levels` [Q], and whose graph runs `detour` on the way.

    Args:
        detour: nodes that make the scalar `detour` of nothing, which is added times 0.
        wql: its score.
        limit_w: what headroom is left below; NaN for a site without limits.
        spec: of one target.
    """
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(_graph(levels, detour, limit_w, spec), folder / MODEL)
    quantiles = np.broadcast_to(levels[:, None], (ROWS, 1, len(levels), spec.horizon_steps)).astype(np.float32)
    exceedance = np.full((ROWS, 1, spec.horizon_steps), 0.0 if np.isfinite(limit_w) else np.nan, np.float32)
    inputs = Inputs(
        past=np.ones((ROWS, 1, spec.context_steps), np.float32),
        future=np.ones((ROWS, len(spec.future), spec.horizon_steps), np.float32),
        static=np.ones((ROWS, len(spec.static)), np.float32),
    )
    write_golden(folder, inputs, Outputs(quantiles, (np.float32(limit_w) - quantiles), exceedance))
    (folder / "report.html").write_text("<p>report</p>")
    training = {"watermark": "2026-03-31T23:00:00+00:00", "code_version": "0123456789ab", "parity": 1.5e-07}
    manifest = Manifest(key, "day-ahead", spec, topology(), ("mixed", "x"), None, training, scores(wql))
    manifest.write(folder)
    return folder


def forever() -> list[NodeProto]:
    """A loop that would end some day."""
    carried = helper.make_tensor_value_info("carried", TensorProto.FLOAT, [])
    body = helper.make_graph(
        [helper.make_node("Identity", ["on"], ["go_on"]), helper.make_node("Sin", ["carried"], ["sine"])],
        "turn",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            carried,
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("sine", TensorProto.FLOAT, []),
        ],
    )
    return [
        _constant("turns", np.array(FOREVER, np.int64)),
        _constant("yes", np.array(True)),
        helper.make_node("ReduceSum", ["static"], ["seed"], keepdims=0),  # of an input, or it would be folded away
        helper.make_node("Loop", ["turns", "yes", "seed"], ["detour"], body=body),
    ]


def greedy() -> list[NodeProto]:
    """A tensor of 2 GiB."""
    return [
        _constant("many", np.array([TOO_MANY], np.int64)),
        helper.make_node("Shape", ["static"], ["shape"]),
        helper.make_node("ReduceMin", ["shape"], ["fewest"], keepdims=1),
        helper.make_node("Mul", ["many", "fewest"], ["size"]),
        helper.make_node("ConstantOfShape", ["size"], ["large"]),
        helper.make_node("ReduceSum", ["large"], ["detour"], keepdims=0),
    ]


def _constant(name: str, value: np.ndarray) -> NodeProto:
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value, name))


def _graph(levels: np.ndarray, detour: Sequence[NodeProto], limit_w: float, spec: ForecastSpec) -> onnx.ModelProto:
    steps, batch = spec.horizon_steps, "batch"
    unlimited = not np.isfinite(limit_w)
    nodes = [
        *(detour or [_constant("detour", np.array(1.0, np.float32))]),
        _constant("zero", np.array(0.0, np.float32)),
        _constant("limit", np.array(limit_w, np.float32)),
        _constant("each", np.repeat(levels.astype(np.float32)[None, None, :, None], steps, 3)),
        _constant("rare", np.full((1, 1, steps), np.nan if unlimited else 0.0, np.float32)),
        _constant("cube", np.array([-1, 1, 1], np.int64)),
        _constant("row", np.array([-1, 1, 1, 1], np.int64)),
        helper.make_node("Mul", ["detour", "zero"], ["nothing"]),
        helper.make_node("ReduceSum", ["static", "last"], ["sum"], keepdims=1),
        helper.make_node("Mul", ["sum", "nothing"], ["blank"]),
        helper.make_node("Reshape", ["blank", "row"], ["blank4"]),
        helper.make_node("Reshape", ["blank", "cube"], ["blank3"]),
        helper.make_node("Add", ["each", "blank4"], ["quantiles"]),
        helper.make_node("Sub", ["limit", "quantiles"], ["headroom"]),
        helper.make_node("Add", ["rare", "blank3"], ["exceedance"]),
    ]
    nodes.insert(0, _constant("last", np.array([1], np.int64)))
    float_input = {
        "past": [batch, 1, spec.context_steps],
        "future": [batch, len(spec.future), steps],
        "static": [batch, len(spec.static)],
    }
    shapes = {"quantiles": [batch, 1, len(levels), steps], "exceedance": [batch, 1, steps]}
    outputs = {"quantiles": shapes["quantiles"], "headroom": shapes["quantiles"], "exceedance": shapes["exceedance"]}
    graph = helper.make_graph(
        nodes,
        "by_hand",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in float_input.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
