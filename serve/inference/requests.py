"""An inference request, whatever protocol it came by, and what is refused of it in every one."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from forecast.bundle.interface import DATATYPE, Described, inputs_of, outputs_of
from forecast.contracts.specs import ForecastSpec
from forecast.windows.arrays import Inputs
from serve.refusals import BadRequestError
from serve.settings import Limits

#: Making arrays of numbers is done on another thread where a request is this large; bytes are arrays already.
LARGE_BYTES = 64 * 1024

#: The protocol's extension for a request's deadline, in µs.
_TIMEOUT = "timeout"

_UNSUPPORTED = ("shared_memory_region", "classification")


@dataclass(frozen=True, eq=False)
class InferRequest:
    """What a client asks of a graph.

    Attributes:
        id: given back; None where there is none.
        inputs: of any number of rows.
        outputs: names in the order wanted, each with whether it goes out as bytes.
        timeout_s: of this request; infinite where it names none.
    """

    id: str | None
    inputs: Inputs
    outputs: list[tuple[str, bool]]
    timeout_s: float


def timeout_s(parameters: Mapping[str, Any]) -> float:
    """The deadline among a request's parameters, in s from now; infinite where there is none.

    Raises:
        BadRequestError: it is no positive whole number.
    """
    timeout_us = parameters.get(_TIMEOUT)
    if timeout_us is None:
        return math.inf
    if type(timeout_us) is not int or timeout_us <= 0:
        raise BadRequestError(f"parameter {_TIMEOUT} must be a positive number of µs.")
    return timeout_us * 1e-6


def check_supported(parameters: Mapping[str, Any], where: str) -> None:
    """Refuse parameters that would change the answer and are not known here; others do no harm.

    Raises:
        BadRequestError: there is one.
    """
    for name in _UNSUPPORTED:
        if name in parameters:
            raise BadRequestError(f"parameter {name} of {where} is not supported.")


def check_names(what: str, names: Sequence[str], limits: Limits) -> None:
    """Refuse too many tensors, or one twice.

    Raises:
        BadRequestError: they are.
    """
    if len(names) > limits.tensors:
        raise BadRequestError(f"{len(names)} {what}; at most {limits.tensors} are taken.")
    if len(set(names)) < len(names):
        raise BadRequestError(f"{what} must each have a name of their own.")


def check_datatype(name: str, datatype: object) -> None:
    """Refuse a tensor of another type.

    Raises:
        BadRequestError: it is.
    """
    if datatype != DATATYPE:
        raise BadRequestError(f"{name} is {datatype}; expected {DATATYPE}.")


def input_of(name: str, spec: ForecastSpec) -> Described:
    """The input of that name.

    Raises:
        BadRequestError: there is none.
    """
    known = {described.name: described for described in inputs_of(spec)}
    if name not in known:
        raise BadRequestError(f"no input {name}; the model takes {', '.join(known)}.")
    return known[name]


def check_output(name: str, spec: ForecastSpec) -> None:
    """Refuse an output that there is not.

    Raises:
        BadRequestError: there is not.
    """
    known = [described.name for described in outputs_of(spec)]
    if name not in known:
        raise BadRequestError(f"no output {name}; the model gives {', '.join(known)}.")
