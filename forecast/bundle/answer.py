"""What a graph answers to plans, apart from the forecast that the answer begins with.

`answer.onnx` in a bundle is the end of its graph. Most of a graph looks at the past, and that is the same whatever is
planned: whoever tries a hundred plans needs only the end of it a hundred times. It takes the outcome of the rest as
`marginal [B, T, Q, H]`, and of the past only a glance: the highest value of each channel, and then its last steps.
"""

from dataclasses import dataclass

import numpy as np

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
        self._steps = self._graph.sizes("past")[-1]

    def glance(self, inputs: Inputs) -> Inputs:
        """Of the whole graph's inputs, what its end looks at."""
        highest = np.fmax.reduce(inputs.past, axis=2, keepdims=True)
        recent = inputs.past[:, :, inputs.past.shape[2] + 1 - self._steps :]
        return Inputs(np.concatenate([highest, recent], axis=2), inputs.future, inputs.static)

    def run(self, marginal: Floats, glance: Inputs) -> Outputs:
        """What the whole graph says of inputs of which it tells `marginal`."""
        return Outputs(*self._graph.call(OUTPUTS, {MARGINAL: marginal, **vars(glance)}))


@dataclass(frozen=True, eq=False)
class After:
    """An answer to whatever is planned of entities whose quantiles without plans are known."""

    answer: Answer
    marginal: Floats

    def run(self, glance: Inputs) -> Outputs:
        return self.answer.run(self.marginal, glance)
