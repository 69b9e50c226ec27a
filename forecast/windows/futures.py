"""The futures of jobs that are known: when each begins and ends in each of them.

In each future every job uses a share of its limit, and those that wait begin when the ones before them end. The same
functions tell serving and, on a device, training.
"""

from typing import Any, NamedTuple

from forecast.features.outlook import CHANCES, PIECES, Outlook
from forecast.features.schedule import ONE

#: Each job ends in one of these futures first, in another second, and so on: an even sample of when it could.
FUTURES = 32

#: What mixes the order of the futures from job to job, so that one that ends early tells nothing of the next.
_MANY, _MIX = 65_537, 40_503


class Chances(NamedTuple):
    """Plans and how long jobs run, of `Outlook`; arrays of NumPy or tensors of PyTorch alike."""

    plan_start_s: Any
    plan_end_s: Any
    plan_kind: Any
    plan_behind: Any
    survival: Any
    used: Any

    @classmethod
    def of(cls, known: Outlook) -> "Chances":
        return cls(*(getattr(known, name) for name in cls._fields))


def futures(known: Chances, plan: Any, day: Any, origin_s: Any, number: Any) -> tuple[Any, Any]:
    """When each job begins and ends in each future, `[R, FUTURES]` both.

    A job that waits begins earlier by what the one before it leaves of its limit, and that one likewise.

    Args:
        plan: `[R]`.
        day, origin_s: numbers, or `[R, 1]`.
        number: 0 to FUTURES.
    """
    lasts = _lasts(known, plan, day, origin_s, number)
    begin = known.plan_start_s[plan][:, None] + 0 * lasts
    before = known.plan_behind[plan]
    while (before >= 0).any():
        limit = (known.plan_end_s - known.plan_start_s)[before][:, None]
        begin = begin - (limit - _lasts(known, before, day, origin_s, number)) * (before >= 0)[:, None]
        before = known.plan_behind[before]
    return begin, begin + lasts


def _lasts(known: Chances, plan: Any, day: Any, origin_s: Any, number: Any) -> Any:
    """How long each job runs in each future, `[R, FUTURES]` seconds, given how long it already has."""
    start = known.plan_start_s[plan][:, None]
    limit = known.plan_end_s[plan][:, None] - start
    kind = known.plan_kind[plan][:, None]
    passed = (origin_s - start).clip(0, None).clip(None, limit)
    piece = (passed * PIECES // limit).clip(0, PIECES - 1)
    alive, left = (known.survival[day, kind, piece + edge] for edge in (0, 1))
    alive = alive - (alive - left) * (passed * PIECES - piece * limit) // limit
    chance = alive * (2 * rank_of(number, start, limit) + 1) * CHANCES // (2 * FUTURES * ONE)
    return (known.used[day, kind, chance] * limit // ONE).clip(passed)


def rank_of(number: Any, start_s: Any, limit_s: Any) -> Any:
    """Which of `FUTURES` even chances to end a job has in a future: each of them in one."""
    mixed = (start_s + 7 * limit_s) % _MANY * _MIX // FUTURES
    return (number * (2 * mixed + 1) + mixed // FUTURES) % FUTURES
