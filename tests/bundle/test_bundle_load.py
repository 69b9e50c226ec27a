"""A bundle that is damaged, altered or dressed up is refused in one line, and a sound one opens."""

import json
import pickle
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from smoke_run import Smoke

from forecast.bundle.golden import GOLDEN
from forecast.bundle.load import load
from forecast.bundle.manifest import NAME, Manifest, digest_of
from forecast.bundle.session import MODEL
from forecast.bundle.usual import USUAL
from forecast.contracts.errors import BundleError
from forecast.windows.arrays import Inputs

#: What a run puts into a bundle, beside the manifest.
FILES = {MODEL, GOLDEN, USUAL, "report.html", "weights.safetensors", "weights.json"}

shared_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@pytest.fixture
def bundle(smoke: Smoke, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(smoke.bundle, tmp_path / "bundle"))


def edit(bundle: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the manifest's data and its digest with it, as whoever means harm would."""
    data = json.loads((bundle / NAME).read_text())
    change(data)
    (bundle / NAME).write_text(json.dumps({**data, "digest": digest_of(data)}))


def rehash(bundle: Path, *names: str) -> None:
    """Make the manifest vouch for files as they are now, as whoever altered them would."""
    digests = {name: sha256((bundle / name).read_bytes()).hexdigest() for name in names}
    edit(bundle, lambda data: data["files"].update(digests))


def test_a_limit_changed_in_the_manifest_is_noticed(bundle: Path) -> None:
    text = (bundle / NAME).read_text()
    assert "87.0" in text
    (bundle / NAME).write_text(text.replace("87.0", "97.0", 1))
    refused(bundle, "altered")


def refused(bundle: Path, reason: str) -> None:
    with pytest.raises(BundleError, match=reason) as caught:
        load(bundle)
    assert "\n" not in str(caught.value)


def refusal(read: Callable[[Path], object], bundle: Path) -> str | None:
    """Why `read` refuses the bundle, None where it does not; any other error than BundleError is the test's failure."""
    try:
        read(bundle)
    except BundleError as error:
        return str(error)
    return None


def test_a_sound_bundle_opens(bundle: Path) -> None:
    opened = load(bundle)
    assert opened.folder == bundle.resolve()
    assert opened.manifest.spec.targets == ("power_w", "temperature_c")


def test_the_link_of_a_registry_opens_the_version_it_points_at(bundle: Path) -> None:
    link = bundle.parent / "current"
    link.symlink_to(bundle.name)
    assert load(link).folder == bundle.resolve()


def test_a_bundle_is_data_only(bundle: Path) -> None:
    assert {path.name for path in bundle.iterdir()} == {NAME, *FILES}
    for path in bundle.iterdir():
        with pytest.raises(Exception, match=r".") as caught:
            pickle.loads(path.read_bytes())  # noqa: S301 - that this fails is the point
        assert not isinstance(caught.value, ModuleNotFoundError)
    with np.load(bundle / GOLDEN, allow_pickle=False) as arrays:
        assert all(arrays[name].dtype == np.float32 for name in arrays)


def test_an_empty_folder_is_no_bundle(tmp_path: Path) -> None:
    refused(tmp_path, "not a bundle, it has no manifest.json")


def test_a_folder_that_is_not_there_is_no_bundle(tmp_path: Path) -> None:
    refused(tmp_path / "nowhere", "not a bundle")


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_another_format_is_refused(bundle: Path, version: object) -> None:
    edit(bundle, lambda data: data.update(format=version))
    refused(bundle, "is not the format 1")


@pytest.mark.parametrize("name", [MODEL, GOLDEN, "report.html"])
def test_a_flipped_bit_is_refused(bundle: Path, name: str) -> None:
    content = bytearray((bundle / name).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / name).write_bytes(content)
    refused(bundle, f"{name}: its SHA-256 is not the manifest's")


@pytest.mark.parametrize("name", [MODEL, GOLDEN, "report.html"])
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_file_cut_short_is_refused(bundle: Path, name: str, share: float) -> None:
    content = (bundle / name).read_bytes()
    (bundle / name).write_bytes(content[: int(share * len(content))])
    refused(bundle, f"{name}: its SHA-256 is not the manifest's")


@pytest.mark.parametrize("name", [MODEL, GOLDEN, "report.html"])
def test_a_missing_file_is_refused(bundle: Path, name: str) -> None:
    (bundle / name).unlink()
    refused(bundle, f"{name}: missing")


@pytest.mark.parametrize("name", [MODEL, GOLDEN])
def test_a_symlink_to_the_very_same_bytes_is_refused(bundle: Path, name: str) -> None:
    (bundle / name).rename(bundle.parent / name)
    (bundle / name).symlink_to(bundle.parent / name)
    refused(bundle, f"{name}: missing, or not a plain file")


@pytest.mark.parametrize("name", [MODEL, GOLDEN])
def test_a_hard_link_is_refused(bundle: Path, name: str) -> None:
    (bundle.parent / name).hardlink_to(bundle / name)
    refused(bundle, f"{name}: missing, or not a plain file with one name")


@pytest.mark.parametrize("name", [MODEL, GOLDEN])
def test_a_manifest_that_does_not_vouch_for_the_graph_is_refused(bundle: Path, name: str) -> None:
    edit(bundle, lambda data: data["files"].pop(name))
    refused(bundle, f"does not list {name}")


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname", "sub/inside", "..", ".", "", NAME, "a\0b"])
def test_a_name_that_is_not_of_a_file_in_the_bundle_is_refused(bundle: Path, name: str) -> None:
    (bundle.parent / "outside").write_bytes(b"")
    digest = sha256(b"").hexdigest()
    edit(bundle, lambda data: data["files"].update({name: digest}))
    refused(bundle, r"not a file of the bundle|missing, or not a plain file")


def test_a_folder_under_a_listed_name_is_refused(bundle: Path) -> None:
    (bundle / "report.html").unlink()
    (bundle / "report.html").mkdir()
    refused(bundle, "not a plain file")


@shared_folder
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_manifest_cut_anywhere_is_refused(bundle: Path, smoke: Smoke, share: float) -> None:
    whole = (smoke.bundle / NAME).read_bytes().rstrip()
    (bundle / NAME).write_bytes(whole[: int(share * len(whole))])
    refused(bundle, "damaged")


@shared_folder
@given(position=st.floats(0, 1, exclude_max=True), value=st.integers(0, 255))
def test_a_manifest_with_any_one_byte_changed_is_refused_or_opens(
    bundle: Path, smoke: Smoke, position: float, value: int
) -> None:
    content = bytearray((smoke.bundle / NAME).read_bytes())
    content[int(position * len(content))] = value
    (bundle / NAME).write_bytes(content)
    if (message := refusal(Manifest.read, bundle)) is not None:
        assert "\n" not in message


FIELDS = ("format", "bundle_id", "name", "skus", "source", "training", "scores", "spec", "topology", "files")
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@shared_folder
@given(field=st.sampled_from(FIELDS), value=anything)
def test_a_manifest_with_any_field_replaced_is_refused_or_opens(
    bundle: Path, smoke: Smoke, field: str, value: object
) -> None:
    data = json.loads((smoke.bundle / NAME).read_text()) | {field: value}
    (bundle / NAME).write_text(json.dumps(data))
    if (message := refusal(load, bundle)) is not None:
        assert "\n" not in message


@pytest.mark.parametrize("field", FIELDS)
def test_a_manifest_without_a_field_is_refused(bundle: Path, field: str) -> None:
    edit(bundle, lambda data: data.pop(field))
    refused(bundle, "damaged")


def test_a_manifest_nested_beyond_reason_is_refused(bundle: Path) -> None:
    (bundle / NAME).write_text("[" * 100_000 + "]" * 100_000)
    refused(bundle, "damaged")


def test_a_manifest_that_contradicts_itself_is_refused(bundle: Path) -> None:
    edit(bundle, lambda data: data["spec"].update(quantile_levels=[0.9, 0.5, 0.1]))
    refused(bundle, "quantile_levels must ascend")


def test_a_tree_that_is_none_is_refused(bundle: Path) -> None:
    edit(bundle, lambda data: data["topology"]["parent_id"].__setitem__(0, "nobody"))
    refused(bundle, "names parent 'nobody'")


def test_a_manifest_with_a_table_of_other_types_is_refused(bundle: Path) -> None:
    edit(bundle, lambda data: data["topology"].update(power_limit_w=["many"] * len(data["topology"]["level"])))
    refused(bundle, "damaged")


def test_a_file_that_is_no_graph_is_refused(bundle: Path) -> None:
    (bundle / MODEL).write_bytes(b"not a graph")
    rehash(bundle, MODEL)
    refused(bundle, "ONNX Runtime cannot load it")


def test_a_graph_that_forecasts_something_else_is_refused(bundle: Path) -> None:
    model = onnx.load(bundle / MODEL)
    for weights in model.graph.initializer:
        if weights.data_type == onnx.TensorProto.FLOAT and len(weights.dims) == 2:
            changed = onnx.numpy_helper.to_array(weights) * np.float32(1.01)
            weights.CopyFrom(onnx.numpy_helper.from_array(changed, weights.name))
    onnx.save(model, bundle / MODEL)
    rehash(bundle, MODEL)
    refused(bundle, "of the golden inputs is .* off")


def test_a_graph_that_keeps_weights_elsewhere_is_refused(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = onnx.load(bundle / MODEL)
    onnx.save(model, bundle / MODEL, save_as_external_data=True, location="weights.bin")
    assert (bundle / "weights.bin").stat().st_size > 10_000
    rehash(bundle, MODEL, "weights.bin")
    monkeypatch.chdir(bundle)  # where the runtime would look for them
    refused(bundle, "ONNX Runtime cannot load it.*[Ee]xternal data")


def golden(bundle: Path, **changes: np.ndarray) -> None:
    """Replace arrays of the golden vectors."""
    with np.load(bundle / GOLDEN) as arrays:
        np.savez_compressed(bundle / GOLDEN, **(dict(arrays) | changes))
    rehash(bundle, GOLDEN)


def test_golden_vectors_that_the_graph_does_not_give_are_refused(bundle: Path) -> None:
    with np.load(bundle / GOLDEN) as arrays:
        quantiles = arrays["quantiles"]
    golden(bundle, quantiles=quantiles * np.float32(1.001))
    refused(bundle, "quantiles of the golden inputs is .* off, over 1e-04")


def test_golden_vectors_within_tolerance_open(bundle: Path) -> None:
    with np.load(bundle / GOLDEN) as arrays:
        quantiles = arrays["quantiles"]
    golden(bundle, quantiles=quantiles * np.float32(1.00003))
    assert load(bundle)


def test_golden_vectors_of_another_shape_are_refused(bundle: Path) -> None:
    golden(bundle, past=np.zeros((2, 1, 5), np.float32))
    refused(bundle, "golden.npz")


def test_golden_vectors_of_nothing_are_refused(bundle: Path) -> None:
    with np.load(bundle / GOLDEN) as arrays:
        empty = {name: arrays[name][:0] for name in arrays}
    golden(bundle, **empty)
    refused(bundle, "golden.npz")


def test_golden_vectors_that_hold_objects_are_refused(bundle: Path) -> None:
    golden(bundle, past=np.array([{"code": "to run"}], dtype=object))
    refused(bundle, "golden.npz")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", b"\x80\x04N."])
def test_golden_vectors_that_are_no_archive_are_refused(bundle: Path, content: bytes) -> None:
    (bundle / GOLDEN).write_bytes(content)
    rehash(bundle, GOLDEN)
    refused(bundle, "golden.npz")


def test_golden_vectors_that_lack_an_output_are_refused(bundle: Path) -> None:
    with np.load(bundle / GOLDEN) as arrays:
        fewer = {name: arrays[name] for name in arrays if name != "headroom"}
    np.savez_compressed(bundle / GOLDEN, **fewer)
    rehash(bundle, GOLDEN)
    refused(bundle, "golden.npz")


def test_an_alteration_of_the_file_after_loading_changes_nothing(bundle: Path) -> None:
    opened = load(bundle)
    with np.load(bundle / GOLDEN) as arrays:
        expected = {name: arrays[name] for name in arrays}
    (bundle / MODEL).write_bytes(b"something else")
    outputs = opened.session.run(Inputs(expected["past"], expected["future"], expected["static"]))
    np.testing.assert_allclose(outputs.quantiles, expected["quantiles"], rtol=1e-3, atol=1.0)


def test_a_manifest_comes_back_as_it_was_written(bundle: Path, tmp_path: Path) -> None:
    first = Manifest.read(bundle)
    first.write(bundle)
    second = Manifest.read(bundle)
    for field in ("bundle_id", "name", "spec", "skus", "source", "training", "scores", "files"):
        assert getattr(first, field) == getattr(second, field)
    assert first.topology.table.equals(second.topology.table)
    assert load(bundle)


def test_the_manifest_hashes_every_other_file(bundle: Path) -> None:
    (bundle / "note.txt").write_text("abc")
    Manifest.read(bundle).write(bundle)
    files = Manifest.read(bundle).files
    assert set(files) == {"note.txt", *FILES}
    # The one-block example of FIPS 180-4.
    assert files["note.txt"] == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
