"""The application: every room of the server, behind the guard. A new room is one module and one line here."""

from collections.abc import Callable
from importlib.metadata import version

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp

from forecast.contracts.errors import one_line
from serve.http import board, dispatch, exposition, open_inference, push
from serve.http.answers import failed, refusal, refused
from serve.http.guard import Guard
from serve.http.state import State
from serve.refusals import RefusedError

#: What each room gives is a router; paths take scopes by `serve.http.access`.
ROOMS: tuple[Callable[[State], APIRouter], ...] = (
    open_inference.router,
    push.router,
    dispatch.router,
    exposition.router,
    board.router,
)


def make_app(state: State) -> ASGIApp:
    """The application of one server."""
    return Guard(routes(state), state)


def routes(state: State) -> FastAPI:
    """The rooms without the guard: what OpenAPI is made of."""
    # Its own pages for OpenAPI load scripts from elsewhere; the document itself is served.
    app = FastAPI(
        title="Fleetcast", version=version("fleetcast"), docs_url=None, redoc_url=None, redirect_slashes=False
    )
    for room in ROOMS:
        app.include_router(room(state))
    app.add_exception_handler(RefusedError, _refused)
    app.add_exception_handler(HTTPException, _not_there)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Exception, _failed)
    return app


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, RefusedError)  # noqa: S101 - as it was registered
    return refused(error)


async def _not_there(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - as it was registered
    told = f"{request.method} {request.url.path}: {error.detail}; /openapi.json has what there is."
    return refusal(error.status_code, told, error.headers)


async def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - as it was registered
    first = error.errors()[0]
    # Which of several types was tried is no part of a field's name.
    field = ".".join(part for part in map(str, first["loc"]) if "[" not in part)
    if first["type"] == "json_invalid":
        return refusal(400, f"body: no JSON from character {first['loc'][-1]} on ({first['ctx']['error']}).")
    if first["type"] == "extra_forbidden":
        return refusal(400, one_line(f"{field}: there is no such field; /openapi.json has those that there are."))
    return refusal(400, one_line(f"{field}: {first['msg'].removeprefix('Value error, ')}."))


async def _failed(request: Request, _: Exception) -> Response:
    return failed(request.scope["request_id"])
