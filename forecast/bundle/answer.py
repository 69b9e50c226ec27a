"""What a graph answers to plans, apart from the forecast that the answer begins with.

`answer.onnx` in a bundle is the end of its graph. Most of a graph looks at the past, and that is the same whatever is
planned: whoever tries a hundred plans needs only the end of it a hundred times.
"""

from dataclasses import dataclass

from forecast.bundle.session import MARGINAL, OUTPUTS, Graph, Outputs
from forecast.windows.arrays import Floats, Inputs

ANSWER = "answer.onnx"


class Answer:
    """The end of a graph.

    Args:
        model: as of `Graph`.
    """

    def __init__(self, model: bytes) -> None:
        self._graph = Graph(model)

    def run(self, marginal: Floats, inputs: Inputs) -> Outputs:
        """What the whole graph says of inputs of which it tells `marginal [B, T, Q, H]`."""
        return Outputs(*self._graph.call(OUTPUTS, {MARGINAL: marginal, **vars(inputs)}))


@dataclass(frozen=True, eq=False)
class After:
    """An answer to whatever is planned of entities whose quantiles without plans are known."""

    answer: Answer
    marginal: Floats

    def run(self, inputs: Inputs) -> Outputs:
        return self.answer.run(self.marginal, inputs)
