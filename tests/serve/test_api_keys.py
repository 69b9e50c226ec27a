"""Who may ask what: every route behind a key with its scope, and no open door beside them."""

import json
import math
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from running import Running, running
from starlette.routing import BaseRoute

from forecast.contracts.errors import ConfigError
from serve.__main__ import main
from serve.http.access import NOBODY, scope_of
from serve.http.app import routes
from serve.http.keys import SCOPES, add_key
from serve.settings import HttpSettings, Limits


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys") / "keys.json"


@pytest.fixture(scope="module")
def tokens(file: Path) -> dict[str, str]:
    """A key for each scope alone."""
    return {scope: add_key(file, scope, [scope]) for scope in SCOPES}


@pytest.fixture(scope="module")
def server(file: Path, tokens: dict[str, str], shared_registry: Path) -> Iterator[Running]:
    with running(shared_registry, keys=file) as server:
        yield server


#: What is open to all, the same for all: probes, and the board's page, which has no file of that name.
OPEN = {("/v2/health/live", 200), ("/v2/health/ready", 200), ("/", 200), ("/board/file", 404)}


def walked(server: Running) -> list[tuple[str, str]]:
    """Every method and path of the application, with something in the place of its parameters."""

    def of(route: BaseRoute) -> Iterator[tuple[str, str]]:
        inner = getattr(route, "routes", None) or getattr(getattr(route, "original_router", None), "routes", None)
        for child in inner or ():
            yield from of(child)
        for method in getattr(route, "methods", None) or ():
            path = route.path.replace("{name}", "day-ahead").replace("{wanted}", "k1")  # type: ignore[attr-defined]
            yield method, path.replace("{", "").replace("}", "")

    found = [pair for route in routes(server.state).routes for pair in of(route)]
    assert ("POST", "/v1/telemetry") in found  # the walk sees the rooms
    assert ("POST", "/v2/models/day-ahead/infer") in found
    return sorted(set(found))


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def test_no_route_but_the_probes_is_open_and_each_takes_its_scope_alone(
    server: Running, tokens: dict[str, str]
) -> None:
    for method, path in walked(server):
        scope = scope_of(path)
        assert scope != NOBODY, f"{path} has no scope in serve.http.access"
        without = server.ask(method, path)
        if scope is None:
            assert (path, without.status) in OPEN
            continue
        assert without.status == 401, (method, path)
        assert without.headers["www-authenticate"] == "Bearer"
        for held, token in tokens.items():
            status = server.ask(method, path, headers=bearer(token)).status
            assert (status not in {401, 403}) == (held == scope), (method, path, held)


@pytest.mark.parametrize(
    "path", ["/nowhere", "/v2x", "/v1x/forecasts", "/v2/../metrics", "//metrics", "/v2%2f..%2fmetrics"]
)
def test_a_path_that_is_not_in_the_table_is_for_nobody(server: Running, tokens: dict[str, str], path: str) -> None:
    assert server.ask("GET", path).status in {401, 404}
    assert server.ask("GET", path, headers=bearer(tokens["read"])).status in {403, 404}


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Basic abc", "Bearer fc_wrong", "bearer\t", "Bearer " + "x" * 5000]
)
def test_a_wrong_key_is_refused(server: Running, header: str) -> None:
    reply = server.ask("GET", "/v2", headers={"authorization": header})
    assert reply.status == 401
    assert "fc_" not in reply.error


def test_a_body_is_not_read_from_who_may_not_send_it(server: Running) -> None:
    reply = server.ask("POST", "/v1/telemetry", b"x" * 100_000)
    assert reply.status == 401
    assert reply.headers["connection"] == "close"


def test_keys_come_and_go_while_the_server_runs(server: Running, file: Path) -> None:
    token = add_key(file, "late", ["infer"])
    assert server.ask("GET", "/v2", headers=bearer(token)).status == 200
    kept = [entry for entry in json.loads(file.read_text()) if entry["name"] != "late"]
    (file.parent / "new").write_text(json.dumps(kept))
    (file.parent / "new").replace(file)
    assert server.ask("GET", "/v2", headers=bearer(token)).status == 401


def test_a_file_that_is_being_written_changes_nothing(server: Running, file: Path, tokens: dict[str, str]) -> None:
    whole = file.read_text()
    file.write_text(whole[:20])
    try:
        assert server.ask("GET", "/v2", headers=bearer(tokens["infer"])).status == 200
        assert server.ask("GET", "/v2", headers=bearer("fc_other")).status == 401
    finally:
        file.write_text(whole)


def test_the_file_holds_hashes_for_its_owner_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "keys.json"
    assert main(["key", "dispatcher", "--keys", str(file), "--scopes", "read,infer"]) == 0
    token = capsys.readouterr().out.strip()
    assert token not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert main(["key", "dispatcher", "--keys", str(file)]) == 2
    assert "taken" in capsys.readouterr().err
    assert main(["key", "other", "--keys", str(file), "--scopes", "everything"]) == 2
    assert "everything" in capsys.readouterr().err
    assert main(["key", "other", "--keys", str(tmp_path / "nowhere" / "keys.json")]) == 2
    assert f"{tmp_path / 'nowhere' / 'keys.json'}: cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize(
    "content", ["{}", "[1]", '[{"name": "a"}]', '[{"name": "a", "sha256": "b", "scopes": ["read"]}]', ""]
)
def test_a_file_of_another_form_is_one_line(tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "keys.json"
    file.write_text(content)
    assert main(["run", "--registry", str(tmp_path), "--keys", str(file), "--port", "0"]) == 2
    assert str(file) in capsys.readouterr().err


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org", "127.0.0.1.example.org"])  # noqa: S104
def test_another_address_takes_keys(host: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--registry", str(tmp_path), "--host", host]) == 2
    assert "--keys" in capsys.readouterr().err
    assert HttpSettings(host=host, keys=tmp_path / "keys.json").host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_this_machine_does_not(host: str) -> None:
    assert HttpSettings(host=host).keys is None


def test_an_address_that_is_taken_is_one_line(
    server: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "--registry", str(tmp_path), "--port", str(server.port)]) == 2
    error = capsys.readouterr().err
    assert str(server.port) in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"port": 70_000}, "port 70000"),
        ({"workers": 0}, "workers=0"),
        ({"linger_s": -1.0}, "linger_s=-1"),
        ({"drain_s": math.nan}, "drain_s=nan"),
        ({"limits": Limits(body_bytes=-5)}, "body_bytes=-5"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        HttpSettings(**settings)
