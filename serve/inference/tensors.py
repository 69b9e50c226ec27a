"""Tensors of the Open Inference Protocol: arrays made of what a client claims."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from forecast.bundle.interface import Described, inputs_of
from forecast.contracts.specs import ForecastSpec
from forecast.windows.arrays import Floats, Inputs
from serve.refusals import BadRequestError

#: Little-endian and row-major; NaN is unknown.
WIRE = np.dtype("<f4")


def checked_shape(name: str, shape: object, dims: int) -> tuple[int, ...]:
    """A shape that a client claims; nothing is allocated for it.

    Raises:
        BadRequestError: it is no list of whole numbers, or too long.
    """
    if not isinstance(shape, list) or not all(type(size) is int and size >= 0 for size in shape):
        raise BadRequestError(f"shape of {name} must be a list of whole numbers, none negative.")
    if not 1 <= len(shape) <= dims:
        raise BadRequestError(f"shape of {name} has {len(shape)} dimensions; 1 to {dims} are taken.")
    return tuple(shape)


def elements(described: Described, shape: tuple[int, ...], largest: int) -> int:
    """How many values a tensor of this shape has.

    Raises:
        BadRequestError: it is not the model's, has no rows, or holds more than `largest` bytes.
    """
    count = math.prod(shape)
    if len(shape) != len(described.shape) or shape[1:] != described.shape[1:] or shape[0] < 1:
        raise BadRequestError(f"{described.name} has shape {list(shape)}; expected {list(described.shape)}, -1 >= 1.")
    if count * WIRE.itemsize > largest:
        raise BadRequestError(f"{described.name} of shape {list(shape)} is larger than {largest} bytes.")
    return count


def from_bytes(name: str, content: memoryview, shape: tuple[int, ...]) -> Floats:
    """A tensor from its bytes on the wire, a view if the machine is of the same kind.

    Raises:
        BadRequestError: a value is infinite.
    """
    return _finite(name, np.frombuffer(content, WIRE).reshape(shape).astype(np.float32, copy=False))


def from_numbers(name: str, data: object, shape: tuple[int, ...]) -> Floats:
    """A tensor from JSON: numbers, nested by dimension or flat; null is NaN.

    Raises:
        BadRequestError: another number of values, or what is no number.
    """
    flat = _flattened(name, data, len(shape))
    if len(flat) != math.prod(shape):
        raise BadRequestError(f"{name} has {len(flat)} values; its shape {list(shape)} takes {math.prod(shape)}.")
    if not {type(value) for value in flat} <= {int, float, type(None)}:
        raise BadRequestError(f"{name} holds what is no number; an unknown value is null.")
    return _finite(name, np.array(flat, np.float64).astype(np.float32).reshape(shape))


def inputs_from(tensors: Mapping[str, Floats], spec: ForecastSpec) -> Inputs:
    """The graph's inputs.

    Raises:
        BadRequestError: one is missing, or they are of batches of different sizes.
    """
    wanted = [described.name for described in inputs_of(spec)]
    missing = [name for name in wanted if name not in tensors]
    if missing:
        raise BadRequestError(f"no input {missing[0]}; the model takes {', '.join(wanted)}.")
    rows = {len(tensors[name]) for name in wanted}
    if len(rows) > 1:
        raise BadRequestError(f"inputs of {' and '.join(map(str, sorted(rows)))} rows; all must have the same.")
    return Inputs(*(tensors[name] for name in wanted))


def _flattened(name: str, data: object, depth: int) -> Sequence[Any]:
    if not isinstance(data, list):
        raise BadRequestError(f"data of {name} must be a list of numbers, flat or nested by dimension.")
    for _ in range(depth - 1):
        if not data or not isinstance(data[0], list):
            break
        if not all(isinstance(part, list) for part in data) or len({len(part) for part in data}) > 1:
            raise BadRequestError(f"data of {name} is nested unevenly.")
        data = [value for part in data for value in part]
    return data


def _finite(name: str, array: Floats) -> Floats:
    """The array, on addresses that a graph can read.

    Raises:
        BadRequestError: a value is infinite: no measurement, and no way to say unknown.
    """
    if np.isinf(array).any():
        raise BadRequestError(f"{name} holds infinite values; an unknown one is NaN.")
    aligned: Floats = np.require(array, requirements=["C", "A"])
    return aligned
