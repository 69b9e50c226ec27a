"""Which bundle is in service: `current` is watched, and what it points to comes in only after it was verified."""

import logging
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from forecast.bundle.load import Bundle, load
from forecast.bundle.trial import trial
from forecast.bundle.usual import read_usual
from forecast.contracts.errors import BundleError, FleetcastError, one_line
from forecast.registry.store import Registry
from forecast.windows.arrays import Inputs

log = logging.getLogger(__name__)

#: A bundle that was refused is tried again after the first of these seconds, then after ever longer, up to the last:
#: the machine may have been short of something, or the copy is mended.
RETRY_S = (1.0, 4.0, 15.0, 60.0)

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
        refused: how many times a bundle was refused; once where trying again finds the same.
    """

    registry: Registry
    apart: bool = True
    bundle: Bundle | None = None
    problem: str | None = None
    refused: int = 0
    _tried: Path | None = None
    _tries: int = 0
    _again: float = 0.0

    def look(self) -> None:
        """Take up what is published now, verified and warm, or refuse it."""
        try:
            folder = self.registry.current()
        except (FleetcastError, OSError) as error:
            self._refuse(None, str(error))
            return
        if folder is None or (self.bundle is not None and self.bundle.folder == folder.resolve()):
            self.problem, self._tries = None, 0
            return
        if self._tries and folder == self._tried and time.monotonic() < self._again:
            return
        try:
            self.bundle = self._opened(folder)
        except (FleetcastError, OSError) as error:
            self._refuse(folder, str(error))
        except Exception as error:  # the runtime raises several unrelated types, also where memory is short
            self._refuse(folder, one_line(f"{folder}: {type(error).__name__}: {error}"))
        else:
            self.problem, self._tries = None, 0
            log.info("bundle in service", extra={"forecast": self.registry.folder.name, "bundle": folder.name})

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
        self._tries = self._tries + 1 if folder == self._tried else 1
        self._tried = folder
        self._again = time.monotonic() + RETRY_S[min(self._tries, len(RETRY_S)) - 1]
        if self._tries > 1 and problem == self.problem:
            return
        self.refused += 1
        self.problem = problem
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
