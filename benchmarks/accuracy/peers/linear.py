"""One linear map from a window to its future, by least squares: what RLinear and its kin converge to.

With each window's mean taken out and put back, dividing by its deviation and multiplying by it again changes nothing in
a linear map, so that the optimum needs no gradient descent (Toner and Darlow, "An Analysis of Linear Time Series
Forecasting Models", ICML 2024).
"""

import numpy as np

from forecast.features.gridded import Floats

#: Of the mean square of an input, added to the diagonal: enough that the weights exist.
_RIDGE = 1e-4

#: Windows whose products are summed at once.
_CHUNK = 8192


class Linear:
    """A map that all series share.

    Args:
        look_back, horizon: steps.
    """

    def __init__(self, look_back: int, horizon: int) -> None:
        self.look_back, self.horizon = look_back, horizon
        self.weights = np.zeros((look_back, horizon), np.float32)
        self.bias = np.zeros(horizon, np.float32)

    def fit(self, series: Floats) -> None:
        """Learn from every window of `series [N, steps]`, none of which misses a value."""
        length = self.look_back + self.horizon
        products = np.zeros((self.look_back + 1, self.look_back + 1))
        towards = np.zeros((self.look_back + 1, self.horizon))
        for row in series:
            windows = np.lib.stride_tricks.sliding_window_view(row, length)
            for begin in range(0, len(windows), _CHUNK):
                part = windows[begin : begin + _CHUNK]
                past = part[:, : self.look_back]
                mean = past.mean(1, keepdims=True)
                inputs = np.concatenate([past - mean, np.ones_like(mean)], axis=1)
                products += inputs.T @ inputs
                towards += inputs.T @ (part[:, self.look_back :] - mean)
        ridge = _RIDGE * np.trace(products[:-1, :-1]) / self.look_back
        solved = np.linalg.solve(products + ridge * np.eye(len(products)), towards).astype(np.float32)
        self.weights, self.bias = solved[:-1], solved[-1]

    def forecast(self, past: Floats) -> Floats:
        """`[..., look_back]` to `[..., horizon]`."""
        mean = past.mean(-1, keepdims=True)
        told: Floats = (past - mean) @ self.weights + self.bias + mean
        return told
