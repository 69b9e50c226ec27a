"""Files that cannot be read: the refusal names the file and the reason, and the exit code is that of bad data."""

from pathlib import Path

import polars as pl
import pytest
from trees import at, values_of

from forecast.contracts.errors import DataError, ExitCode
from forecast.traces.files import EntitySpec, FileSource

GOOD = pl.DataFrame({"time": [at(0)], "entity_id": ["a"], "power_w": [1.0]})


def refusal(path: Path | str) -> str:
    with pytest.raises(DataError) as caught:
        FileSource(path=str(path), entities={"a": EntitySpec()}, time_zone="UTC").read()
    assert caught.value.exit_code == ExitCode.DATA_REFUSED
    assert "\n" not in str(caught.value), "one line for a person"
    return str(caught.value)


def parquet(frame: pl.DataFrame, path: Path) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.write_parquet(path)
    return path.read_bytes()


@pytest.mark.parametrize("name", ["gone.csv", "gone", "gone/*.parquet"])
def test_nothing_there(tmp_path: Path, name: str) -> None:
    assert refusal(tmp_path / name) == f"{tmp_path / name}: no such file or folder of Parquet; check the path."


def test_no_path_at_all_is_not_the_folder_one_stands_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parquet(GOOD, tmp_path / "good.parquet")
    monkeypatch.chdir(tmp_path)
    assert refusal("") == "source.path: no such file or folder of Parquet; check the path."


def test_a_folder_without_parquet(tmp_path: Path) -> None:
    (tmp_path / "notes.csv").write_text("x\n")
    assert refusal(tmp_path).endswith(f"name CSV or TSV by a glob, such as {tmp_path}/*.csv.")


@pytest.mark.parametrize(("name", "kind"), [("x.json", ".json"), ("x", "a file without ending"), ("x.xlsx", ".xlsx")])
def test_a_kind_of_file_that_is_not_read(tmp_path: Path, name: str, kind: str) -> None:
    (tmp_path / name).write_text("{}")
    told = f"{tmp_path / name}: cannot read {kind}; one kind of .parquet, .csv, .tsv, .txt is read."
    assert refusal(tmp_path / name) == told


def test_two_kinds_at_once(tmp_path: Path) -> None:
    GOOD.write_csv(tmp_path / "1.csv")
    parquet(GOOD, tmp_path / "2.parquet")
    assert "cannot read .csv, .parquet" in refusal(tmp_path / "*.*")


@pytest.mark.parametrize("name", ["x.csv", "x.tsv", "x.parquet"])
def test_an_empty_file(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"")
    assert refusal(tmp_path / name).startswith(f"{tmp_path / name}: cannot be read as {name[2:]}: ")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_truncated_parquet(tmp_path: Path, share: float) -> None:
    content = parquet(GOOD, tmp_path / "x.parquet")
    (tmp_path / "x.parquet").write_bytes(content[: int(len(content) * share)])
    assert refusal(tmp_path / "x.parquet").startswith(f"{tmp_path / 'x.parquet'}: cannot be read as parquet: ")


def test_text_that_calls_itself_parquet(tmp_path: Path) -> None:
    GOOD.write_csv(tmp_path / "x.parquet")
    assert "x.parquet: cannot be read as parquet" in refusal(tmp_path / "x.parquet")


def test_parquet_that_calls_itself_text(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(parquet(GOOD, tmp_path / "x.parquet"))
    assert "x.csv: " in refusal(tmp_path / "x.csv")


@pytest.mark.parametrize(
    ("later", "reason"),
    [
        (GOOD.drop("power_w"), "column power_w is absent, but Float64 in"),
        (GOOD.with_columns(pl.col("power_w").cast(pl.String)), "column power_w is String, but Float64 in"),
        (GOOD.with_columns(pl.col("time").dt.replace_time_zone(None)), "column time is Datetime"),
    ],
)
def test_a_later_file_that_differs_is_the_one_named(tmp_path: Path, later: pl.DataFrame, reason: str) -> None:
    parquet(GOOD, tmp_path / "day=1/part.parquet")
    parquet(later, tmp_path / "day=2/part.parquet")
    message = refusal(tmp_path)
    assert message.startswith(f"{tmp_path}/day=2/part.parquet: {reason}")
    assert f"{tmp_path}/day=1/part.parquet" in message


def test_a_later_file_that_is_damaged_is_the_one_named(tmp_path: Path) -> None:
    content = parquet(GOOD, tmp_path / "day=1/part.parquet")
    parquet(GOOD, tmp_path / "day=2/part.parquet")
    (tmp_path / "day=2/part.parquet").write_bytes(content[:-9])
    assert refusal(tmp_path).startswith(f"{tmp_path}/day=2/part.parquet: cannot be read as parquet: ")


def test_text_in_another_encoding_loses_a_letter_not_the_file(tmp_path: Path) -> None:
    text = "time,entity_id,power_w,room\n2026-03-02T00:00,a,7,Café\n"
    (tmp_path / "x.csv").write_bytes(text.encode("latin-1"))
    source = FileSource(path=str(tmp_path / "x.csv"), entities={"a": EntitySpec()}, time_zone="UTC")
    assert values_of(source.read().telemetry) == {("a", 0): 7.0}
