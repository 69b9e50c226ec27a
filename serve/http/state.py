"""What every room of the server is handed."""

from dataclasses import dataclass

from serve.engine.engine import Engine
from serve.http.keys import Keys
from serve.inference.batching import Batcher
from serve.metrics import Metrics
from serve.settings import HttpSettings


@dataclass(eq=False)
class State:
    """One server.

    Attributes:
        engine: forecasts.
        metrics: what is counted.
        settings: of HTTP.
        keys: who may ask; None lets everybody.
        batcher: runs graphs.
        draining: whether the server is about to end, and wants no new work.
    """

    engine: Engine
    metrics: Metrics
    settings: HttpSettings
    keys: Keys | None
    batcher: Batcher
    draining: bool = False

    @property
    def is_ready(self) -> bool:
        return self.engine.is_ready and not self.draining
