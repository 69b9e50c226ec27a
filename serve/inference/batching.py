"""Requests that wait for the same graph run together: a core that is free takes all that has gathered meanwhile.

Nobody waits for company: alone, a request runs at once. So batches grow with the load, and only then.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument

from forecast.bundle.session import Outputs, Runs
from forecast.windows.arrays import Inputs
from serve.metrics import Metrics
from serve.refusals import BadRequestError, TooLateError, UnavailableError


@dataclass(frozen=True, eq=False)
class _Waiting:
    session: Runs
    inputs: Inputs
    deadline: float
    answer: "asyncio.Future[Outputs]"

    @property
    def rows(self) -> int:
        return len(self.inputs.past)


class Batcher:
    """A bounded queue before a few threads, each of which runs one graph at a time.

    Args:
        workers: threads.
        rows: that run together at most, where several requests do.
        queue: requests that may wait.
        metrics: what is counted.
    """

    def __init__(self, workers: int, rows: int, queue: int, metrics: Metrics) -> None:
        self._rows, self._queue, self._metrics = rows, queue, metrics
        self._waiting: deque[_Waiting] = deque()
        self._free = workers
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="inference")
        self._running: set[asyncio.Task[None]] = set()

    @property
    def room(self) -> int:
        """Requests that would run at once or may wait, beside those that do."""
        return self._free + self._queue - len(self._waiting)

    async def run(self, session: Runs, inputs: Inputs, timeout_s: float) -> Outputs:
        """Run a graph on inputs of any number of rows.

        Raises:
            BadRequestError: the graph refuses these values: a code outside its vocabulary, say.
            UnavailableError: too many wait already.
            TooLateError: no thread was free before the time was up; the work was dropped.
        """
        if len(self._waiting) >= self._queue:
            raise UnavailableError(f"{self._queue} inference requests wait already.")
        loop = asyncio.get_running_loop()
        waiting = _Waiting(session, inputs, loop.time() + timeout_s, loop.create_future())
        self._waiting.append(waiting)
        self._dispatch()
        try:
            async with asyncio.timeout_at(waiting.deadline):
                return await waiting.answer
        except TimeoutError as error:
            raise TooLateError(f"no answer within {timeout_s:g} s.") from error

    def close(self) -> None:
        """Let go of the threads, when what they run has ended."""
        self._pool.shutdown()

    def _dispatch(self) -> None:
        """Give what waits to threads that are free."""
        while self._free and (batch := self._next()):
            self._free -= 1
            task = asyncio.get_running_loop().create_task(self._execute(batch))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        self._metrics.waiting.set(len(self._waiting))

    def _next(self) -> list[_Waiting]:
        """The request that waits longest, and others for the same graph that fit beside it; without the expired."""
        now = asyncio.get_running_loop().time()
        alive = [one for one in self._waiting if not one.answer.done() and one.deadline > now]
        batch, rows = alive[:1], sum(one.rows for one in alive[:1])
        for one in alive[1:]:
            if one.session is batch[0].session and rows + one.rows <= self._rows:
                batch.append(one)
                rows += one.rows
        taken = {id(one) for one in batch}
        self._waiting = deque(one for one in alive if id(one) not in taken)
        return batch

    async def _execute(self, batch: list[_Waiting]) -> None:
        self._metrics.batch_rows.observe(sum(one.rows for one in batch))
        loop = asyncio.get_running_loop()
        try:
            answers = await loop.run_in_executor(self._pool, _run, batch)
        except Exception as error:
            for one in batch:
                if not one.answer.done():
                    one.answer.set_exception(error)
        else:
            for one, answer in zip(batch, answers, strict=True):
                if one.answer.done():
                    continue
                if isinstance(answer, Exception):
                    one.answer.set_exception(answer)
                else:
                    one.answer.set_result(answer)
        finally:
            self._free += 1
            self._dispatch()


def _run(batch: list[_Waiting]) -> Sequence[Outputs | Exception]:
    """Run requests as one, and share out what comes of it; if one spoils it for all, each alone."""
    if len(batch) == 1:
        return [_alone(batch[0])]
    parts = [(one.inputs.past, one.inputs.future, one.inputs.static) for one in batch]
    try:
        together = batch[0].session.run(Inputs(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True))))
    except InvalidArgument:
        return [_alone(one) for one in batch]
    edges = np.cumsum([one.rows for one in batch])[:-1]
    shares = [np.split(array, edges) for array in together]
    return [Outputs(*arrays) for arrays in zip(*shares, strict=True)]


def _alone(one: _Waiting) -> Outputs | Exception:
    try:
        return one.session.run(one.inputs)
    except InvalidArgument:
        return BadRequestError("the graph refuses these values; a code in static is outside its vocabulary.")
