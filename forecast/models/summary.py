"""A few numbers about each window that its normalised shape no longer tells."""

import torch
from torch import Tensor, nn

from forecast.contracts.signals import LEVELS
from forecast.contracts.specs import ForecastSpec
from forecast.models.scaling import Scaled

#: What a context of an hour at most is told apart by.
_TENTH = 10

#: So many days count as a whole context in use. With one, a newcomer of a day was told with too much confidence.
_WHOLE_DAYS = 2


#: Numbers that are learnt of each level and each SKU.
_EMBEDDED = 8


class Summary(nn.Module):
    """Level, spread, newest state and kind of entity as one vector `[B, self.size]`.

    Per channel: mean and log spread in typical units, share observed, mean of the last step, hour and day, wobble of
    the last hour; of an hour at most, mean and wobble of its last tenth. Then the temperature limit, what is known
    ahead at the forecast time, and learnt embeddings of level and SKU; an unknown limit or code reads 0.

    In training the share is told as it is, which keeps windows with gaps and short ones apart from the whole ones. In
    use a context of which two days were observed, or half where it is shorter than four, counts as whole: what is
    learnt of a share in between, from few windows, loses more than the gaps themselves.

    Args:
        spec: whose context it looks at.
        skus: size of the vocabulary.
        ahead: channels that `AheadScaler` makes of what is known ahead.
    """

    per_channel = 7
    SPREAD = 1

    def __init__(self, spec: ForecastSpec, skus: int, ahead: int) -> None:
        super().__init__()
        hour, day = 3600 // spec.step_s, spec.day_steps
        if spec.context_steps <= hour:
            hour, day = spec.context_steps // _TENTH, spec.context_steps
        self.spans = [min(max(steps, 1), spec.context_steps) for steps in (1, hour, day)]
        self.enough = min(_WHOLE_DAYS * spec.day_steps, spec.context_steps / 2)
        self.level_code, self.sku_code = spec.static.index("level_code"), spec.static.index("sku_code")
        self.temperature_limit = spec.static.index("temperature_limit_c")
        self.level = nn.Embedding(len(LEVELS) + 1, _EMBEDDED)
        self.sku = nn.Embedding(skus + 1, _EMBEDDED)
        self.size = len(spec.past) * self.per_channel + 1 + ahead + 2 * _EMBEDDED

    def forward(self, scaled: Scaled, ahead: Tensor, static: Tensor) -> Tensor:
        """`[B, size]` of a context, what is known `ahead [B, channels, H]` and `static [B, S]`."""
        z = scaled.z
        recent = [z[:, :, -span:].mean(-1) for span in self.spans]
        hour = z[:, :, -self.spans[1] :]
        wobble = (hour - hour.mean(-1, keepdim=True)).abs().mean(-1)
        limit = static[:, self.temperature_limit, None] / 100.0
        known_limit = torch.where(torch.isnan(limit), torch.zeros_like(limit), limit)
        seen = scaled.seen.mean(-1) if self.training else (scaled.seen.sum(-1) / self.enough).clamp(max=1.0)
        parts = [scaled.loc[..., 0], scaled.spread[..., 0].log(), seen, *recent, wobble]
        kind = [self.level(static[:, self.level_code].long()), self.sku(static[:, self.sku_code].long())]
        return torch.cat([*parts, known_limit, ahead[:, :, 0], *kind], dim=1)
