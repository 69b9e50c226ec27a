"""What dispatchers ask most, as requests over HTTP."""

from collections.abc import Sequence


def reads(name: str, racks: Sequence[str], until: str) -> list[bytes]:
    """The room of a rack until then, an entity's forecast, the tightest of all: 8, 8 and 1 of each 17."""
    paths: list[str] = []
    for first, second in zip(racks[::2], racks[1::2], strict=False):
        paths += [f"/headroom?entity={first}&until={until}", f"?entity={second}"]
        if len(paths) % 17 == 16:
            paths.append("/tightest?n=10")
    return [f"GET /v1/forecasts/{name}{path} HTTP/1.1\r\nhost: benchmark\r\n\r\n".encode() for path in paths]
