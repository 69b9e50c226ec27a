"""Is there anything to do? A run is known by what it would be made from, and one that was made is not made again."""

from collections.abc import Callable
from pathlib import Path

from forecast.contracts.version import key_of
from forecast.registry.store import Registry
from forecast.registry.verify import file_problems
from forecast.retrain.config import JobConfig, plain
from forecast.retrain.prepare import Prepared
from forecast.retrain.pretrained import Pretrained

#: Settings that change nothing in what is made.
_ELSEWHERE = {"registry", "cache", "memory_gb", "free_gb", "when", "log", "metrics_file"}


def run_key(config: JobConfig, prepared: Prepared) -> str:
    """Identify a run: the same forecast, settings, code, and data up to the watermark give the same key."""
    settings = {name: value for name, value in plain(config).items() if name not in _ELSEWHERE}
    settings["source"] = {name: value for name, value in settings["source"].items() if name != "until"}
    parts = [settings, prepared.content, prepared.code]
    if (named := config.training.named_weights) is not None:
        parts.append(Pretrained.find(named, prepared.spec).facts["sha256"])
    return key_of(*parts)


def nothing_new(registry: Registry, key: str, champion: Path | None, say: Callable[[str], None]) -> str | None:
    """Return why the run `key` need not be made, in a line; None where it must be.

    Args:
        registry: of the forecast.
        key: of the run.
        champion: the version in service.
        say: told of a version that is there, but damaged: it is made anew.
    """
    if registry.has(key):
        problem = next(file_problems(registry.folder / "versions" / key), None)
        if problem is None:
            return f"{registry.folder} holds {key}, made from the same data, settings and code"
        say(f"{problem} It is made anew.")
    rejected = registry.rejection(key, champion.name if champion else None)
    if rejected is not None:
        return f"{key}, made from the same data, settings and code, was rejected before: {rejected}"
    return None
