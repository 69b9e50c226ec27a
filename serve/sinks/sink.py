"""What every sink is: something that a cycle can be written to, whole, again and again."""

import ssl
from abc import ABC, abstractmethod
from dataclasses import replace

import numpy as np

from serve.engine.issued import Issued
from serve.sinks.address import Address

#: Whatever a broker has not acknowledged anything for so long is given up, and tried again later.
STALL_S = 10.0


class SinkError(Exception):
    """A cycle that could not be written; in one line, why."""


class Sink(ABC):
    """Writes a cycle so that writing it again changes nothing: the outlet does that whenever something went wrong.

    Nothing is kept open between two cycles, so there is nothing to revive after an outage.
    """

    def __init__(self, address: Address) -> None:
        self.address = address

    @abstractmethod
    def write(self, issued: Issued) -> None:
        """Write the forecast of every entity, and return when it is safe where it went.

        Raises:
            SinkError, OSError: it is not, or not all of it.
        """


def chosen(issued: Issued, levels: tuple[str, ...]) -> Issued:
    """The entities of these levels alone; all where there are none."""
    if not levels:
        return issued
    return issued.of(np.flatnonzero(issued.topology.table["level"].is_in(levels).to_numpy()))


def alone(issued: Issued) -> Issued:
    """A forecast without what it was made from, which is most of its memory."""
    return replace(issued, forecast=replace(issued.forecast, inputs=None), given=None)


def trust(address: Address) -> ssl.SSLContext | None:
    """Whom to believe that he is the broker; None where the connection is not encrypted."""
    return ssl.create_default_context(cafile=address.ca) if address.tls else None
