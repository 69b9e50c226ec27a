"""A published bundle to an MLflow server: a run with its settings and scores, and a model version with its files."""

import math
import os
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forecast.bundle.load import load
from forecast.bundle.manifest import Manifest
from forecast.contracts.errors import ConfigError, FleetcastError, TransientError
from forecast.registry.contents import verdict, wql_ratio
from forecast.traces.places import shown
from forecast.wording import OURS

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param

#: Where a run keeps the bundle's files.
_ARTIFACTS = "bundle"

#: Tag of runs and model versions: the version's key in the registry.
_TAG = "fleetcast.bundle_id"

#: Of the model, on the version that is in service.
_ALIAS = "current"

#: Of MLflow's client, unless set already: no reports to its makers, no links on stdout, no retries for minutes.
_MANNERS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
}

#: What a refusal means whose code says so.
_REFUSALS = {
    **dict.fromkeys(
        ("UNAUTHENTICATED", "PERMISSION_DENIED"),
        "wants other credentials; set MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD.",
    ),
    "ENDPOINT_NOT_FOUND": "what answers there is no MLflow server; check the URI.",
}

_SCORES = ("wql", "mae", "mase", "coverage_80", "coverage_98")


def export(version: Path, uri: str) -> str:
    """Log a verified bundle as a run of the forecast's experiment and a version of its model, and alias that `current`.

    A bundle that is there already is not logged again.

    Args:
        version: folder of the bundle.
        uri: of the tracking server, http or https.

    Returns:
        A line that says what is there now.

    Raises:
        ConfigError: MLflow's client is not installed, that is no server's URL, or the server refused.
        TransientError: the server is away.
        BundleError: the bundle is not what was published.
    """
    if not uri.startswith(("http://", "https://")):
        raise ConfigError(f"--to mlflow {uri}: not the URL of a tracking server, such as http://mlflow:5000.")
    os.environ.update({name: value for name, value in _MANNERS.items() if name not in os.environ})
    try:
        from mlflow import MlflowClient  # noqa: PLC0415
        from mlflow.exceptions import MlflowException  # noqa: PLC0415
        from requests import RequestException  # noqa: PLC0415 - what the upload of files lets through
    except ImportError as error:
        raise ConfigError("--to mlflow needs its client: pip install 'fleetcast[mlflow]'.") from error
    bundle = load(version)
    try:
        client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        return _logged(client, bundle.folder, bundle.manifest)
    except (MlflowException, RequestException) as error:
        raise _failure(error, uri) from error


def _failure(error: Exception, uri: str) -> FleetcastError:
    """What stands in the way, without the layers that it came through."""
    server, code, root = shown(uri), getattr(error, "error_code", ""), _root(error)
    answer = getattr(root, "response", None)
    status = 0 if answer is None else int(answer.status_code)
    reason = " ".join(str(root).split()).replace(uri, server)
    if "valid JSON" in reason or status == HTTPStatus.NOT_FOUND:
        code = "ENDPOINT_NOT_FOUND"
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        code = "UNAUTHENTICATED"
    if code in _REFUSALS:
        return ConfigError(f"{server}: {_REFUSALS[code]}")
    if status:
        reason = f"it answers {status}"
    if root is not error or isinstance(error, OSError) or code in {"INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE"}:
        reason = getattr(root, "strerror", None) or reason
        return TransientError(f"{server}: MLflow is away ({reason}); try again later, or check the URI.")
    return ConfigError(f"{server}: MLflow refuses: {reason}")


def _root(error: BaseException) -> BaseException:
    """What an exception was raised for, and that one, to the first."""
    while (earlier := error.__cause__ or error.__context__) is not None:
        error = earlier
    return error


def _logged(client: "MlflowClient", folder: Path, manifest: Manifest) -> str:
    model = f"fleetcast.{manifest.name}"
    if not client.search_registered_models(f"name = '{model}'"):
        client.create_registered_model(model, description="Quantile forecasts of load and thermal headroom")
    there = client.search_model_versions(f"name = '{model}' and tags.`{_TAG}` = '{manifest.bundle_id}'")
    version = there[0].version if there else _new_version(client, model, folder, manifest)
    client.set_registered_model_alias(model, _ALIAS, version)
    return f"{manifest.name}: {manifest.bundle_id} is version {version} of {model}{' already' if there else ''}"


def _new_version(client: "MlflowClient", model: str, folder: Path, manifest: Manifest) -> str:
    run = _run(client, folder, manifest)
    # Last: whoever finds a version finds a run that is complete.
    created = client.create_model_version(
        model,
        source=f"runs:/{run}/{_ARTIFACTS}",
        run_id=run,
        tags={_TAG: manifest.bundle_id},
        await_creation_for=0,
    )
    return str(created.version)


def _run(client: "MlflowClient", folder: Path, manifest: Manifest) -> str:
    experiment = client.get_experiment_by_name(manifest.name)
    number = experiment.experiment_id if experiment else client.create_experiment(manifest.name)
    tags = {_TAG: manifest.bundle_id, "fleetcast.verdict": str(verdict(folder).get("reason", ""))}
    run: str = client.create_run(number, run_name=manifest.bundle_id, tags=tags).info.run_id
    try:
        client.log_batch(run, metrics=_metrics(manifest), params=_params(manifest))
        client.log_artifacts(run, str(folder), _ARTIFACTS)
    except BaseException:
        client.set_terminated(run, "FAILED")
        raise
    client.set_terminated(run)
    return run


def _metrics(manifest: Manifest) -> "list[Metric]":
    """Scores by segment, `wql/power_w/rack`; those of the best baseline as `baseline_wql/...`; and the whole."""
    from mlflow.entities import Metric  # noqa: PLC0415

    values: dict[str, float | None] = {"wql_ratio": wql_ratio(manifest.scores)}
    for row in manifest.scores:
        segment = f"{row['target']}/{row['level']}"
        if row["method"] == OURS:
            values |= {f"{name}/{segment}": row.get(name) for name in _SCORES}
        else:
            best = f"baseline_wql/{segment}"
            values[best] = min(row["wql"], values.get(best) or math.inf)
    known = {name: value for name, value in values.items() if value is not None and math.isfinite(value)}
    return [Metric(name, value, 0, 0) for name, value in known.items()]


def _params(manifest: Manifest) -> "list[Param]":
    from mlflow.entities import Param  # noqa: PLC0415

    training = {name: value for name, value in manifest.training.items() if name != "operators"}
    return [Param(name, value) for name, value in _flat({**manifest.spec.to_dict(), **training}).items()]


def _flat(data: dict[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for name, value in data.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return flat
