"""Which bundle is in service: `current` is watched, and what it points to comes in only after it was verified."""

import logging
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from forecast.bundle.load import Bundle, load
from forecast.bundle.trial import trial
from forecast.bundle.usual import read_usual
from forecast.contracts.errors import BundleError, FleetcastError
from forecast.registry.store import Registry
from forecast.windows.arrays import Inputs

log = logging.getLogger(__name__)

#: A bundle that was refused is looked at again after so long: a copy may have been mended.
RETRY_S = 60.0

#: Rows to warm up with: the batch that serving runs.
_WARM_ROWS = 256


@dataclass
class Watch:
    """The versions of one named forecast, as they are published.

    Attributes:
        registry: of this forecast.
        apart: open a new bundle in a process of its own first, so that whatever its graph does ends that one.
        bundle: the newest one that was sound; None before there is any.
        problem: why what is published now is not in service; None where it is.
        refused: how many times a bundle was refused.
    """

    registry: Registry
    apart: bool = True
    bundle: Bundle | None = None
    problem: str | None = None
    refused: int = 0
    _tried: tuple[Path | None, float] = (None, 0.0)

    def look(self) -> Bundle | None:
        """The bundle that is newly in service, verified and warm; None where nothing changed, or it was refused."""
        try:
            folder = self.registry.current()
        except (FleetcastError, OSError) as error:
            self._refuse(None, str(error))
            return None
        if folder is None or (self.bundle is not None and self.bundle.folder == folder.resolve()):
            self.problem = None
            return None
        tried, at = self._tried
        if tried == folder and time.monotonic() - at < RETRY_S:
            return None
        try:
            self.bundle = self._opened(folder)
        except (FleetcastError, OSError) as error:
            self._refuse(folder, str(error))
            return None
        self.problem, self._tried = None, (None, 0.0)
        log.info("bundle in service", extra={"forecast": self.registry.folder.name, "bundle": folder.name})
        return self.bundle

    def _opened(self, folder: Path) -> Bundle:
        if self.apart:
            trial(folder)
        bundle = load(folder)
        if bundle.manifest.bundle_id != folder.name:
            raise BundleError(f"{folder}: the manifest is of version {bundle.manifest.bundle_id}.")
        read_usual(bundle)
        _warm_up(bundle)
        return bundle

    def _refuse(self, folder: Path | None, problem: str) -> None:
        self.refused += 1
        self.problem = problem
        self._tried = (folder, time.monotonic())
        log.error("bundle refused", extra={"forecast": self.registry.folder.name, "problem": problem})


def _warm_up(bundle: Bundle) -> None:
    """Let the runtime allocate what a batch takes."""
    spec = bundle.manifest.spec
    shapes = (
        (_WARM_ROWS, len(spec.past), spec.context_steps),
        (_WARM_ROWS, len(spec.future), spec.horizon_steps),
        (_WARM_ROWS, len(spec.static)),
    )
    inputs = Inputs(*(np.zeros(shape, np.float32) for shape in shapes))
    _, marginal = bundle.session.run_with_marginal(inputs)
    if bundle.answer is not None and marginal is not None:
        bundle.answer.run(marginal, bundle.answer.glance(inputs))
