"""What a request may be answered instead of what it asked for: a status, one line, and when to come again."""

from forecast.contracts.errors import FleetcastError


class RefusedError(FleetcastError):
    """A request that is not served.

    Attributes:
        status: of HTTP.
        retry_after_s: when asking again makes sense; None where it makes none.
        hang_up: whether the connection ends with the answer, as more may be on its way that nobody wants.
    """

    status = 400
    retry_after_s: int | None = None
    hang_up = False


class BadRequestError(RefusedError):
    """A request that means nothing here."""


class UnknownKeyError(RefusedError):
    """No key, or none that is known."""

    status = 401
    hang_up = True


class ForbiddenError(RefusedError):
    """A key without the scope that this takes."""

    status = 403
    hang_up = True


class NotFoundError(RefusedError):
    """No such forecast, version, entity or place."""

    status = 404


class NotAcceptableError(RefusedError):
    """No form of content that the client takes."""

    status = 406


class TooLargeError(RefusedError):
    """More than the server takes at once."""

    status = 413
    hang_up = True


class UnsupportedError(RefusedError):
    """A form of content that is not read here."""

    status = 415
    hang_up = True


class UnavailableError(RefusedError):
    """Not now: overload, no bundle yet, or only a fallback where that is not wanted."""

    status = 503
    retry_after_s = 1


class TooLateError(RefusedError):
    """The deadline passed before the answer was there."""

    status = 504
