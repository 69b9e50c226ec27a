"""What the graph of a bundle takes and gives, as inference servers call it (Open Inference Protocol, Triton)."""

from dataclasses import dataclass
from typing import Any

from forecast.bundle.session import OUTPUTS
from forecast.contracts.specs import ForecastSpec

#: All that goes in and comes out: 32-bit floats.
DATATYPE = "FP32"

#: As Triton names what runs a bundle.
PLATFORM = "onnxruntime_onnx"


@dataclass(frozen=True)
class Described:
    """One tensor of a model: its name and shape, -1 for the batch."""

    name: str
    shape: tuple[int, ...]

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name, "datatype": DATATYPE, "shape": list(self.shape)}


def inputs_of(spec: ForecastSpec) -> tuple[Described, ...]:
    """What the graph takes."""
    return (
        Described("past", (-1, len(spec.past), spec.context_steps)),
        Described("future", (-1, len(spec.future), spec.horizon_steps)),
        Described("static", (-1, len(spec.static))),
    )


def outputs_of(spec: ForecastSpec) -> tuple[Described, ...]:
    """What it gives."""
    whole = (-1, len(spec.targets), len(spec.quantile_levels), spec.horizon_steps)
    shapes = {"quantiles": whole, "headroom": whole, "exceedance": (-1, len(spec.targets), spec.horizon_steps)}
    return tuple(Described(name, shapes[name]) for name in OUTPUTS)
