"""What every room of the server is handed."""

from dataclasses import dataclass, field

from forecast.bundle.load import Bundle
from serve.engine.engine import Engine
from serve.http.admission import Admission
from serve.http.keys import Keys
from serve.inference.batching import Batcher
from serve.metrics import Metrics
from serve.refusals import NotFoundError
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
        admission: who is let in.
    """

    engine: Engine
    metrics: Metrics
    settings: HttpSettings
    keys: Keys | None
    batcher: Batcher
    draining: bool = False
    admission: Admission = field(init=False)

    def __post_init__(self) -> None:
        self.admission = Admission(self.settings.limits, self.batcher)

    def served(self, name: str, version: str | None = None) -> Bundle:
        """The bundle of a model; of versions there is the one in service.

        Raises:
            NotFoundError: no such model, or version of it.
            UnavailableError: no bundle of it is in service yet.
        """
        bundle = self.engine.live(name).bundle
        if version is not None and version != bundle.manifest.bundle_id:
            raise NotFoundError(f"model {name} has no version {version}; it has {bundle.manifest.bundle_id}.")
        return bundle

    @property
    def is_ready(self) -> bool:
        return self.engine.is_ready and not self.draining
