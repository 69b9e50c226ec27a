"""The export to a model repository of Triton's, checked by Triton's own definition of its configuration."""

import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from google.protobuf import text_format
from hand_made import SPEC, make_bundle
from tritonclient.grpc.model_config_pb2 import TYPE_FP32, ModelConfig

from forecast.__main__ import main
from forecast.bundle.load import load
from forecast.bundle.session import MODEL, Session
from forecast.registry.publish import publish_bundle
from forecast.registry.store import Registry
from forecast.windows.arrays import Inputs


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A registry with one version."""
    publish(tmp_path / "registry", tmp_path / "k1", 0.2)
    return tmp_path / "registry"


def publish(root: Path, made: Path, wql: float, limit_w: float = 400.0) -> None:
    registry = Registry(root, "day-ahead")
    with registry.lock():
        bundle = load(make_bundle(made, made.name, wql=wql, limit_w=limit_w))
        publish_bundle(registry, bundle, {"passed": True, "reason": "better"})


def export(root: Path, folder: Path) -> int:
    return main(["registry", "export", "day-ahead", "--to", "triton", str(folder), "--root", str(root)])


def config_of(folder: Path) -> ModelConfig:
    return text_format.Parse((folder / "day-ahead" / "config.pbtxt").read_text(), ModelConfig())


def test_the_configuration_is_one_and_says_what_the_graph_takes(root: Path, tmp_path: Path) -> None:
    assert export(root, tmp_path / "models") == 0
    config = config_of(tmp_path / "models")
    assert config.name == "day-ahead"
    assert config.platform == "onnxruntime_onnx"
    assert config.max_batch_size > 1
    assert config.HasField("dynamic_batching")
    graph = onnxruntime.InferenceSession(tmp_path / "models" / "day-ahead" / "1" / "model.onnx")
    for told, known in ((config.input, graph.get_inputs()), (config.output, graph.get_outputs())):
        assert {one.name: list(one.dims) for one in told} == {one.name: one.shape[1:] for one in known}
        assert {one.data_type for one in told} == {TYPE_FP32}
        assert all(isinstance(one.shape[0], str) for one in known), "a batch of any size"


def test_the_model_is_the_published_one(root: Path, tmp_path: Path) -> None:
    export(root, tmp_path / "models")
    there, ours = tmp_path / "models" / "day-ahead" / "1" / MODEL, root / "day-ahead" / "current" / MODEL
    assert there.read_bytes() == ours.read_bytes()
    shapes = ((1, SPEC.context_steps), (len(SPEC.future), SPEC.horizon_steps), (len(SPEC.static),))
    inputs = Inputs(*(np.ones((5, *shape), np.float32) for shape in shapes))
    assert Session(there.read_bytes()).run(inputs).quantiles.shape == (5, 1, 3, SPEC.horizon_steps)


def test_another_version_has_the_next_number_and_the_same_one_is_not_copied_again(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = tmp_path / "models"
    export(root, models)
    export(root, models)
    assert "is version 1 of" in (told := capsys.readouterr().out)
    assert told.splitlines()[-1].endswith(" already")
    publish(root, tmp_path / "k2", 0.1, limit_w=300.0)
    export(root, models)
    assert "k2 is version 2 of" in capsys.readouterr().out
    assert sorted(path.name for path in (models / "day-ahead").iterdir()) == ["1", "2", "config.pbtxt"]
    assert list(config_of(models).version_policy.specific.versions) == [2]


def test_after_a_rollback_what_is_in_service_here_is_served_there(root: Path, tmp_path: Path) -> None:
    models = tmp_path / "models"
    export(root, models)
    publish(root, tmp_path / "k2", 0.1, limit_w=300.0)
    export(root, models)
    assert main(["registry", "rollback", "day-ahead", "--root", str(root)]) == 0
    export(root, models)
    assert list(config_of(models).version_policy.specific.versions) == [1]


def test_a_configuration_that_was_lost_is_written_again(root: Path, tmp_path: Path) -> None:
    export(root, tmp_path / "models")
    before = config_of(tmp_path / "models")
    (tmp_path / "models" / "day-ahead" / "config.pbtxt").unlink()
    export(root, tmp_path / "models")
    assert config_of(tmp_path / "models") == before


def test_versions_of_somebody_else_stay(root: Path, tmp_path: Path) -> None:
    other = tmp_path / "models" / "day-ahead" / "7"
    other.mkdir(parents=True)
    (other / MODEL).write_bytes(b"another")
    (other.parent / "notes").mkdir()
    export(root, tmp_path / "models")
    assert (other / MODEL).read_bytes() == b"another"
    assert (other.parent / "8" / MODEL).is_file()


def test_a_bundle_that_is_damaged_is_not_exported(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "day-ahead" / "current" / MODEL).write_bytes(b"another")
    assert export(root, tmp_path / "models") == 20
    assert "SHA-256" in capsys.readouterr().err
    assert not (tmp_path / "models").exists()


def test_a_disk_that_refuses_leaves_no_version(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", full)
        assert export(root, tmp_path / "models") == 50
    assert list((tmp_path / "models" / "day-ahead").iterdir()) == []
    shutil.rmtree(tmp_path / "models")
    assert export(root, tmp_path / "models") == 0
