"""Weights of the adaptive CDF for a site that records less: what it lacks costs nothing there.

A forecast is what the whole model tells where the rest is unknown to it (`forecast.models.adapted`), in a graph of the
site's own channels.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from forecast.contracts.specs import ForecastSpec
from forecast.models.adaptive_cdf import AdaptiveCdfConfig
from forecast.models.base import ModelConfig
from forecast.models.known import has_outlook
from forecast.models.scaling import FLOOR
from forecast.models.summary import Summary

#: Weights that hold a block of rows per target, by the modules that they belong to; the last have a column per target.
_ROWS = ("days", "daily", "sharpness", "bend", "linear.skip", "linear.steps", "drivers", "jobs.sharpen")
_COLUMNS = ("start", "usual.sku")

#: Layers whose input begins with the summary, the first with the newest value of each target behind it.
_STATE = "state.0"
_TOLD_SUMMARY = (_STATE, "sharpness", "linear.steps", "jobs.idle", "outcomes.window")

#: Buffers: not of weights, and per channel.
_CONSTANTS = ("linear.hats", "linear.skip.hats", "linear.skip.same_time", "drivers.hats")
_CHANNELS = "scaler.constant"


def narrowed_spec(config: ModelConfig, own: ForecastSpec, site: ForecastSpec) -> ForecastSpec:
    """`own` without the channels that `site` lacks, where a model of `config` can do without them."""
    follows_jobs = has_outlook(own) and "power_w" not in site.past
    if not isinstance(config, AdaptiveCdfConfig) or config.width or follows_jobs:
        return own
    targets = (*site.targets, *(name for name in own.targets if name in site.past and name not in site.targets))
    others = (name for name in site.past if name in own.past and name not in targets)
    return replace(own, targets=targets, past=(*targets, *others))


def narrowed(weights: Mapping[str, Tensor], own: ForecastSpec, fewer: ForecastSpec) -> dict[str, Tensor]:
    """Of `weights` for `own` those for `fewer`, which `narrowed_spec` made of it."""
    if (own.targets, own.past) == (fewer.targets, fewer.past):
        return dict(weights)
    targets = [own.targets.index(name) for name in fewer.targets]
    channels = [own.past.index(name) for name in fewer.past]
    kept = dict(weights)
    kept[_CHANNELS] = kept[_CHANNELS][:, channels]
    for layer in (layer for layer in _TOLD_SUMMARY if f"{layer}.weight" in kept):
        weight, bias = kept[f"{layer}.weight"], kept[f"{layer}.bias"]
        newest = len(own.targets) if layer == _STATE else 0
        told, beside = weight.tensor_split([weight.shape[1] - newest], dim=1)
        told, unseen = _of_channels(told, channels, len(own.past))
        kept[f"{layer}.weight"] = torch.cat([told, beside[:, targets] if newest else beside], dim=1)
        kept[f"{layer}.bias"] = bias + unseen
    for name in kept.keys() - set(_CONSTANTS):
        for axis, modules in enumerate((_ROWS, _COLUMNS)):
            if any(name == module or name.startswith(f"{module}.") for module in modules):
                kept[name] = _of_targets(kept[name], targets, len(own.targets), axis)
    return kept


def _of_channels(weight: Tensor, channels: Sequence[int], count: int) -> tuple[Tensor, Tensor]:
    """A layer's weights on the summary of `channels`, and what that of the others, never seen, adds to its bias."""
    each, rest = weight.tensor_split([Summary.per_channel * count], dim=1)
    each = each.unflatten(1, (Summary.per_channel, count))
    others = [channel for channel in range(count) if channel not in channels]
    unseen = each[:, Summary.SPREAD, others].sum(1) * math.log(FLOOR)
    return torch.cat([each[:, :, channels].flatten(1), rest], dim=1), unseen


def _of_targets(weight: Tensor, targets: Sequence[int], count: int, axis: int) -> Tensor:
    """Of a weight that holds `count` equal blocks along `axis`, one per target, those of `targets`."""
    blocks: Tensor = weight.unflatten(axis, (count, -1))
    return blocks.index_select(axis, torch.tensor(targets)).flatten(axis, axis + 1)
