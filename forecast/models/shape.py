"""What the shape of one window says: a network over its last steps, for `model.width` above 0."""

import torch
from torch import Tensor, nn

from forecast.contracts.specs import ForecastSpec
from forecast.models.scaling import FARTHEST, Scaled

#: The window's shape reaches the network as its last steps and means of equal blocks.
_RECENT = 72
_BLOCKS = 168

#: The shape speaks softly at first: what summary and grid say is learnt before what one window looks like.
_SOFTLY = 0.2


class Shape(nn.Module):
    """A residual network over the context's last steps, its blocks and its state: `[B, width]` and `[B, hidden]`.

    Args:
        spec: whose context it looks at.
        state: numbers that tell the window's state.
        width, layers, dropout: of the network.
        hidden: how many numbers what bends with the state is told.
    """

    def __init__(self, spec: ForecastSpec, state: int, width: int, layers: int, dropout: float, hidden: int) -> None:
        super().__init__()
        self.recent = min(_RECENT, spec.context_steps)
        self.block = -(-spec.context_steps // _BLOCKS)
        self.blocks = spec.context_steps // self.block
        self.inward = nn.Linear(len(spec.past) * (self.recent + 2 * self.blocks) + state, width)
        self.body = nn.Sequential(*(Residual(width, dropout) for _ in range(layers)))
        self.dropout = nn.Dropout(dropout)
        self.outward = nn.Linear(width, hidden)

    def forward(self, scaled: Scaled, state: Tensor) -> tuple[Tensor, Tensor]:
        z = scaled.z.clamp(-FARTHEST, FARTHEST)
        values, seen = (
            part[:, :, -self.blocks * self.block :].unflatten(2, (self.blocks, self.block)).mean(-1)
            for part in (z, scaled.seen)
        )
        window = torch.cat([z[:, :, -self.recent :], values, seen - 1], dim=2).flatten(1)
        shape = self.body(torch.relu(self.inward(torch.cat([window, state], dim=1)))) * _SOFTLY
        return shape, self.outward(self.dropout(shape))


class Residual(nn.Module):
    """Two layers whose result is added to what came in, `[B, width]`."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.layers = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, width))

    def forward(self, features: Tensor) -> Tensor:
        changed: Tensor = features + self.layers(self.norm(features))
        return changed
