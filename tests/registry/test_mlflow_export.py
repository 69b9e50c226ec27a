"""The export to a real MLflow tracking server, started here on a free port of the loopback."""

import contextlib
import http.server
import importlib.util
import os
import re
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hand_made import make_bundle, scores
from loopback import free_port, wait_until

from forecast.__main__ import main
from forecast.bundle.load import load
from forecast.registry.publish import publish_bundle
from forecast.registry.store import Registry

if TYPE_CHECKING:
    from mlflow import MlflowClient

MODEL = "fleetcast.day-ahead"
NEEDED = ("mlflow", "flask", "flask_cors", "sqlalchemy", "alembic", "pandas", "aiohttp")

pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in NEEDED),
    reason="no MLflow server: pip install 'fleetcast[mlflow,test]'",
)


def answers(url: str) -> bool:
    with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/health", timeout=5) as answer:  # noqa: S310
        return bool(answer.status == 200)
    return False


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server that keeps its runs in SQLite and hands artifacts on to a folder."""
    folder, port = tmp_path_factory.mktemp("mlflow"), free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    places = [
        "--backend-store-uri",
        f"sqlite:///{folder / 'runs.db'}",
        "--artifacts-destination",
        str(folder / "files"),
    ]
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen([*command, *places], cwd=folder, env=os.environ | quiet, stdout=log, stderr=log) as running,
    ):
        url = f"http://127.0.0.1:{port}"
        try:
            wait_until(lambda: answers(url) or running.poll() is not None, "MLflow answers", 120)
            assert running.poll() is None, (folder / "log").read_text()
            yield url
        finally:
            running.terminate()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two versions, told apart by the test's folder: the server is shared."""
    registry = Registry(tmp_path / "registry", "day-ahead")
    for key, wql in ((f"{tmp_path.name[-12:]}-1", 0.16), (f"{tmp_path.name[-12:]}-2", 0.1)):
        with registry.lock():
            publish_bundle(registry, load(make_bundle(tmp_path / key, key, wql=wql)), {"reason": f"WQL {wql}"})
    return tmp_path / "registry"


@pytest.fixture
def client(server: str) -> "MlflowClient":
    from mlflow import MlflowClient  # noqa: PLC0415

    return MlflowClient(tracking_uri=server, registry_uri=server)


def export(root: Path, url: str) -> int:
    return main(["registry", "export", "day-ahead", "--to", "mlflow", url, "--root", str(root)])


def current(root: Path) -> str:
    return (root / "day-ahead" / "current").readlink().name


def test_the_current_bundle_becomes_a_run_and_a_model_version(
    root: Path, server: str, client: "MlflowClient", tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(root, server) == 0
    version = client.get_model_version_by_alias(MODEL, "current")
    assert capsys.readouterr().out == f"day-ahead: {current(root)} is version {version.version} of {MODEL}\n"
    assert version.tags == {"fleetcast.bundle_id": current(root)}
    run = client.get_run(version.run_id)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == current(root)
    assert run.data.tags["fleetcast.verdict"] == "WQL 0.1"
    assert client.get_experiment(run.info.experiment_id).name == "day-ahead"
    ours = {row["level"]: row for row in scores(0.1) if row["method"] == "fleetcast"}
    for level, row in ours.items():
        for name in ("wql", "mae", "mase", "coverage_80", "coverage_98"):
            assert run.data.metrics[f"{name}/power_w/{level}"] == row[name]
        assert run.data.metrics[f"baseline_wql/power_w/{level}"] == 0.2
    assert run.data.metrics["wql_ratio"] == pytest.approx(0.5)
    assert run.data.params["horizon_steps"] == "3"
    assert run.data.params["targets"] == "power_w"
    assert run.data.params["watermark"] == "2026-03-31T23:00:00+00:00"
    # What lies there is the bundle: it opens, with every hash and the golden vectors checked.
    fetched = client.download_artifacts(version.run_id, "bundle", str(tmp_path))
    assert load(Path(fetched)).manifest.bundle_id == current(root)


def test_a_bundle_is_exported_once_and_a_rollback_moves_the_alias(
    root: Path, server: str, client: "MlflowClient", capsys: pytest.CaptureFixture[str]
) -> None:
    newest = current(root)
    assert export(root, server) == 0
    assert main(["registry", "rollback", "day-ahead", "--root", str(root)]) == 0
    assert export(root, server) == 0
    assert client.get_model_version_by_alias(MODEL, "current").tags["fleetcast.bundle_id"] == current(root) != newest
    assert main(["registry", "rollback", "day-ahead", "--root", str(root)]) == 0
    count = len(client.search_model_versions(f"name = '{MODEL}'"))
    assert export(root, server) == 0
    assert capsys.readouterr().out.endswith(" already\n")
    assert len(client.search_model_versions(f"name = '{MODEL}'")) == count
    assert client.get_model_version_by_alias(MODEL, "current").tags["fleetcast.bundle_id"] == newest


def test_a_damaged_bundle_is_not_exported(
    root: Path, server: str, client: "MlflowClient", capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "day-ahead" / "current" / "golden.npz").write_bytes(b"")
    assert export(root, server) == 20
    assert "its SHA-256 is not the manifest's" in capsys.readouterr().err
    tagged = f"name = '{MODEL}' and tags.`fleetcast.bundle_id` = '{current(root)}'"
    assert client.search_model_versions(tagged) == []


def test_a_server_that_is_away_is_one_line_without_the_password(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    assert export(root, f"http://me:secret@127.0.0.1:{free_port()}") == 40
    error = re.sub(r"\d{4,}", "PORT", capsys.readouterr().err)
    away = "MLflow is away (Connection refused); try again later, or check the URI."
    assert error == f"error: http://127.0.0.1:PORT: {away}\n"


@contextlib.contextmanager
def answering(status: int, body: bytes) -> Iterator[str]:
    """The URL of a server that says the same to everybody."""

    class Same(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Same) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


@pytest.mark.parametrize(
    ("status", "body", "code", "told"),
    [
        (503, b"<html>soon</html>", 40, "MLflow is away (too many 503 error responses); try again later, or check"),
        (200, b"<html>who?</html>", 2, "what answers there is no MLflow server; check the URI."),
        (404, b"nothing here", 2, "what answers there is no MLflow server; check the URI."),
        (401, b"who?", 2, "wants other credentials; set MLFLOW_TRACKING_TOKEN, or"),
        (
            400,
            b'{"error_code": "INVALID_PARAMETER_VALUE", "message": "too\\nlong"}',
            2,
            "MLflow refuses: INVALID_PARAMETER_VALUE: too long",
        ),
    ],
)
def test_what_a_server_says_instead_is_one_line_that_says_what_to_do(
    root: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    body: bytes,
    code: int,
    told: str,
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with answering(status, body) as url:
        assert export(root, url) == code
    error = capsys.readouterr().err
    assert error.startswith(f"error: {url}: {told}")
    assert error.count("\n") == 1


def test_a_server_that_goes_away_while_files_are_sent_is_away(
    root: Path, server: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The upload raises what its own client does, which is no exception of MLflow's."""
    import requests  # noqa: PLC0415 - MLflow's, absent where it is
    from mlflow import MlflowClient  # noqa: PLC0415

    def refused(*_: object) -> None:
        answer = requests.Response()
        answer.status_code = 502
        raise requests.HTTPError("502 Server Error for url: http://me:secret@mlflow", response=answer)

    monkeypatch.setattr(MlflowClient, "log_artifacts", refused)
    assert export(root, server) == 40
    assert (
        capsys.readouterr().err
        == f"error: {server}: MLflow is away (it answers 502); try again later, or check the URI.\n"
    )
