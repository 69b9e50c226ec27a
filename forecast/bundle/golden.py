"""Golden vectors: inputs and what PyTorch made of them, kept in the bundle and checked at every load."""

from pathlib import Path

import numpy as np

from forecast.bundle.answer import Answer
from forecast.bundle.session import Outputs, Session
from forecast.contracts.errors import BundleError
from forecast.windows.arrays import Floats, Inputs

GOLDEN = "golden.npz"

#: PyTorch and ONNX Runtime add floats in different orders; more than this apart is a different graph.
TOLERANCE = 1e-4


def write_golden(folder: Path, inputs: Inputs, outputs: Outputs) -> None:
    """Keep `inputs` and what they must give."""
    np.savez_compressed(folder / GOLDEN, **vars(inputs), **outputs._asdict())


def check_golden(folder: Path, session: Session, answer: Answer | None = None) -> None:
    """Run the golden inputs.

    Args:
        folder: of the bundle.
        session: its graph.
        answer: the end of it, which must say the same.

    Raises:
        BundleError: they cannot be read or run; an output differs, is not finite, or crosses.
    """
    try:
        with np.load(folder / GOLDEN, allow_pickle=False) as arrays:
            inputs = Inputs(**{name: arrays[name] for name in ("past", "future", "static")})
            expected = Outputs(**{name: arrays[name] for name in Outputs._fields})
        actual, marginal = session.run_with_marginal(inputs)
        answered = actual if answer is None or marginal is None else answer.run(marginal, answer.glance(inputs))
    except Exception as error:  # archive, arrays and runtime raise many unrelated types
        reason = " ".join(str(error).split())
        raise BundleError(f"{folder / GOLDEN}: damaged, or not of this graph ({reason}).") from error
    if (unsound := _unsound(actual)) is not None:
        raise BundleError(f"{folder}: {unsound}.")
    for told in (actual, answered):
        for name, apart in disagreements(told, expected).items():
            if not apart <= TOLERANCE:
                raise BundleError(f"{folder}: {name} of the golden inputs is {apart:.1e} off, over {TOLERANCE:.0e}.")


def _unsound(outputs: Outputs) -> str | None:
    """What nobody could dispatch by, though PyTorch may have made the same of it."""
    if not np.isfinite(outputs.quantiles).all():
        return "quantiles of the golden inputs are not all finite"
    if (np.diff(outputs.quantiles, axis=2) < 0).any():
        return "quantiles of the golden inputs cross"
    for name in ("headroom", "exceedance"):
        values = getattr(outputs, name)
        unknown = np.isnan(values)
        limitless = unknown.all(axis=tuple(range(2, values.ndim)), keepdims=True)
        if np.isinf(values).any() or (unknown & ~limitless).any():
            return f"{name} of the golden inputs is not finite where there is a limit"
    return None


def disagreements(actual: Outputs, expected: Outputs) -> dict[str, float]:
    """`disagreement` by output.

    Exceedance is a probability and is measured against certainty: where the limit lies on quantiles that meet, it is so
    steep that a rounding of the quantiles in the seventh digit shows in its fifth.
    """
    smallest = {"exceedance": 1.0}
    return {
        name: disagreement(getattr(actual, name), getattr(expected, name), smallest.get(name, 1e-3))
        for name in Outputs._fields
    }


def disagreement(actual: Floats, expected: Floats, smallest: float = 1e-3) -> float:
    """The largest difference relative to each row's own size, taken to be `smallest` at least.

    Infinite when the two have different shapes or are not NaN in the same places.
    """
    if actual.shape != expected.shape or (np.isnan(actual) != np.isnan(expected)).any():
        return float("inf")
    axes = tuple(range(2, expected.ndim))
    size = np.maximum(np.nanmax(np.abs(np.nan_to_num(expected)), axis=axes, keepdims=True), smallest)
    return float(np.max(np.nan_to_num(np.abs(actual - expected)) / size, initial=0.0))
