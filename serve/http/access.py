"""Which scope each path takes: one table, and what it does not name is for nobody."""

#: Beginnings of paths, by whole segments; the longest that fits counts. None is open to all.
_SCOPES: dict[str, str | None] = {
    "/v2/health/live": None,
    "/v2/health/ready": None,
    "/v2": "infer",
    "/v1": "read",
    "/v1/telemetry": "push",
    "/openapi.json": "read",
    "/metrics": "metrics",
    "/": None,
    "/board": None,
}

#: Answered however busy the server is.
PROBES = ("/v2/health/live", "/v2/health/ready")

#: What no key has.
NOBODY = "nobody"


def scope_of(path: str) -> str | None:
    """The scope that a path takes; None where it is open."""
    segments = path.rstrip("/").split("/")
    for end in range(len(segments), 1, -1):
        beginning = "/".join(segments[:end])
        if beginning in _SCOPES:
            return _SCOPES[beginning]
    return _SCOPES["/"] if path == "/" else NOBODY
