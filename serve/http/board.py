"""The board: a page at `/` that an operator keeps open, from files that ship with the package."""

from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from typing import Annotated

from fastapi import APIRouter, Header
from starlette.responses import Response

from serve.http.state import State
from serve.refusals import NotFoundError

_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

_HEADERS = {
    # Nothing from elsewhere, nothing inline, no other page around it.
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",  # ask again each time: another version of the server has another board
}


@dataclass(frozen=True)
class _File:
    content: bytes
    kind: str
    tag: str


def router(state: State) -> APIRouter:
    """`/` and the files that its page asks for; the numbers it gets from `/v1`."""
    del state  # the page is the same for everybody, whatever is forecast
    routes = APIRouter(include_in_schema=False)
    known = _read()

    @routes.get("/")
    async def page(if_none_match: Annotated[str | None, Header()] = None) -> Response:
        return _given(known["index.html"], if_none_match)

    @routes.get("/board/{file}")
    async def part(file: str, if_none_match: Annotated[str | None, Header()] = None) -> Response:
        if file not in known:
            raise NotFoundError(f"the board has no file {file[:64]}.")
        return _given(known[file], if_none_match)

    return routes


def _read() -> dict[str, _File]:
    """Every file of the board, by name."""
    known = {}
    for file in (files("serve") / "board").iterdir():
        kind = _KINDS.get(file.name[file.name.rfind(".") :])
        if kind is not None:
            content = file.read_bytes()
            known[file.name] = _File(content, kind, f'"{sha256(content).hexdigest()[:16]}"')
    return known


def _given(file: _File, if_none_match: str | None) -> Response:
    headers = {**_HEADERS, "etag": file.tag}
    # A proxy that compresses weakens the tag.
    if if_none_match is not None and file.tag in if_none_match.replace("W/", ""):
        return Response(status_code=304, headers=headers)
    return Response(file.content, headers=headers, media_type=file.kind)
