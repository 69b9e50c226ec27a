"""Small fleets with bundles of a few nodes, and telemetry that keeps coming, for tests of the running server."""

import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import onnx
import polars as pl
from onnx import TensorProto, helper, numpy_helper

from forecast.bundle.golden import write_golden
from forecast.bundle.manifest import Manifest
from forecast.bundle.session import MODEL, Session
from forecast.contracts.specs import ForecastSpec
from forecast.contracts.topology import Topology
from forecast.registry.store import Registry
from forecast.windows.arrays import Inputs

#: A Wednesday, an hour after midnight: a day's context reaches over two days.
NOW = datetime(2026, 3, 4, 1, tzinfo=UTC)

SPEC = ForecastSpec(
    step_s=900,
    context_steps=96,
    horizon_steps=8,
    targets=("power_w", "temperature_c"),
    past=("power_w", "temperature_c", "utilization_ratio"),
    quantile_levels=(0.05, 0.1, 0.5, 0.9, 0.95),
)

_SKUS = ("mixed", "air", "liquid")


def fleet(servers: int = 6) -> Topology:
    """A site of two racks."""
    racks = ["rack-0", "rack-1"]
    rows = [("site-1", None, "site", "mixed", 20_000.0)]
    rows += [(rack, "site-1", "rack", "mixed", 8_000.0) for rack in racks]
    rows += [(f"server-{at}", racks[at % 2], "server", _SKUS[1 + at % 2], 1_000.0) for at in range(servers)]
    columns = ["entity_id", "parent_id", "level", "sku", "power_limit_w"]
    table = pl.DataFrame(rows, schema=columns, orient="row")
    return Topology.of(
        table.with_columns(temperature_limit_c=pl.lit(90.0), site=pl.lit("site-1"), time_zone=pl.lit("Europe/Helsinki"))
    )


def telemetry(topology: Topology, end: datetime = NOW, hours: float = 80.0, seed: int = 0) -> pl.DataFrame:
    """A sample of every server about every seven minutes up to `end`: days and nights, noise, some values missing."""
    random = np.random.default_rng(seed)
    servers = [name for name in topology.entities if name.startswith("server")]
    count = int(hours * 3600 // 420)
    frames = []
    for at, name in enumerate(servers):
        seconds = np.arange(count) * 420 + random.integers(0, 60, count)
        time = [end - timedelta(seconds=float(second) + 1) for second in seconds]
        hour = np.array([moment.hour + moment.minute / 60 for moment in time])
        use = np.clip(0.5 + 0.3 * np.sin((hour - 9) / 24 * 2 * np.pi) + random.normal(0, 0.05, count), 0, 1)
        power = 250.0 + 600.0 * use + 10 * at + random.normal(0, 5, count)
        temperature = 40.0 + 35.0 * use + random.normal(0, 0.3, count)
        missing = random.random(count) < 0.02
        frames.append(
            pl.DataFrame(
                {
                    "time": pl.Series(time, dtype=pl.Datetime("us", "UTC")),
                    "entity_id": name,
                    "power_w": np.where(missing, np.nan, power),
                    "temperature_c": temperature,
                    "utilization_ratio": use,
                }
            ).with_columns(pl.col("power_w").fill_nan(None))
        )
    return pl.concat(frames).sort("time", "entity_id")


def write_bundle(folder: Path, key: str, topology: Topology, spec: ForecastSpec = SPEC, shift: float = 0.0) -> Path:
    """A bundle whose forecast is the mean of what was observed in the context, give or take; `shift` moves it.

    Its graph is made by hand: a bundle takes milliseconds.
    """
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(_graph(spec, shift), folder / MODEL)
    random = np.random.default_rng(0)
    inputs = Inputs(
        *(
            random.uniform(1.0, 50.0, (3, *shape)).astype(np.float32)
            for shape in (
                (len(spec.past), spec.context_steps),
                (len(spec.future), spec.horizon_steps),
                (len(spec.static),),
            )
        )
    )
    write_golden(folder, inputs, Session((folder / MODEL).read_bytes()).run(inputs))
    Manifest(key, "day-ahead", spec, topology, _SKUS, None, {}, []).write(folder)
    return folder


def _graph(spec: ForecastSpec, shift: float) -> onnx.ModelProto:
    targets, levels, steps = len(spec.targets), len(spec.quantile_levels), spec.horizon_steps
    side = np.linspace(-40.0, 40.0, levels)[:, None] * np.linspace(1.0, 2.0, steps) + shift
    constants = {
        "from": np.array([0], np.int64),
        "to": np.array([targets], np.int64),
        "channels": np.array([1], np.int64),
        "time": np.array([2], np.int64),
        "wide": np.array([0, targets, 1, 1], np.int64),
        "long": np.array([0, targets, 1], np.int64),
        "none": np.array(0.0, np.float32),
        "one": np.array(1.0, np.float32),
        "scale": np.array(100.0, np.float32),
        "spread": np.broadcast_to(side, (1, targets, levels, steps)).astype(np.float32),
        "flat": np.zeros((1, targets, steps), np.float32),
        "last": np.array([-1], np.int64),
        "back": np.array([-(2**31)], np.int64),
        "levels": np.array([2], np.int64),
        "cube": np.array([1, 1, 1], np.int64),
    }
    steps_of = [
        ("Slice", ["past", "from", "to", "channels"], "seen"),
        ("IsNaN", ["seen"], "unknown"),
        ("Where", ["unknown", "none", "seen"], "known"),
        ("ReduceSum", ["known", "time"], "total"),
        ("Where", ["unknown", "none", "one"], "ones"),
        ("ReduceSum", ["ones", "time"], "count"),
        ("Max", ["count", "one"], "some"),
        ("ReduceSum", ["future"], "ahead"),  # every input must be of use, or the runtime drops it
        ("Mul", ["ahead", "none"], "nothing"),
        ("Reshape", ["nothing", "cube"], "nothing3"),
        ("Div", ["total", "some"], "observed"),
        ("Add", ["observed", "nothing3"], "mean"),
        ("Reshape", ["mean", "wide"], "mean4"),
        ("Add", ["mean4", "spread"], "quantiles"),
        ("Slice", ["static", "from", "to", "channels"], "limits"),
        ("Reshape", ["limits", "wide"], "limits4"),
        ("Slice", ["quantiles", "last", "back", "levels", "last"], "flipped"),
        ("Sub", ["limits4", "flipped"], "headroom"),
        ("Reshape", ["limits", "long"], "limits3"),
        ("Sub", ["mean", "limits3"], "over"),
        ("Div", ["over", "scale"], "scaled"),
        ("Sigmoid", ["scaled"], "odds"),
        ("Add", ["odds", "flat"], "exceedance"),
    ]
    nodes = [helper.make_node(kind, inputs, [output]) for kind, inputs, output in steps_of]
    shapes = {
        "past": ["batch", len(spec.past), spec.context_steps],
        "future": ["batch", len(spec.future), steps],
        "static": ["batch", len(spec.static)],
        "quantiles": ["batch", targets, levels, steps],
        "headroom": ["batch", targets, levels, steps],
        "exceedance": ["batch", targets, steps],
    }
    tensors = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()}
    graph = helper.make_graph(
        nodes,
        "mean",
        list(tensors.values())[:3],
        list(tensors.values())[3:],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def publish(root: Path, made: Path, key: str, name: str = "day-ahead") -> Path:
    """Publish a copy of the bundle that lies in `made` as version `key` of its own id."""
    registry = Registry(root, name)
    with registry.lock():
        staged = registry.staging()
        for file in made.iterdir():
            (staged / file.name).write_bytes(file.read_bytes())
        manifest = Manifest.read(staged)
        (staged / "manifest.json").unlink()
        Manifest(
            key, name, manifest.spec, manifest.topology, manifest.skus, None, manifest.training, manifest.scores
        ).write(staged)
        return registry.publish(staged, key)


def as_json(rows: pl.DataFrame) -> bytes:
    times = pl.col("time").dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ")
    return json.dumps(rows.with_columns(times).to_dicts()).encode()


def as_arrow(rows: pl.DataFrame, compression: str = "uncompressed") -> bytes:
    stream = io.BytesIO()
    rows.write_ipc_stream(stream, compression=compression)  # type: ignore[arg-type]
    return stream.getvalue()
