"""Files that are elsewhere: a real S3 server, whatever fsspec opens, and partition keys of folders anywhere."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from threading import Thread
from typing import Any

import boto3
import fsspec
import polars as pl
import pytest
from moto.server import ThreadedMotoServer
from trees import at, values_of

from forecast.contracts.errors import ConfigError, DataError
from forecast.traces.files import EntitySpec, FileSource
from forecast.traces.places import find
from forecast.traces.trace import Trace

ENTITIES = {"a": EntitySpec(), "007": EntitySpec()}
HIVE = {"time": "time", "entity_id": "host", "power_w": "power_w"}
SECRET = "hush-very-secret"  # noqa: S105 - nobody's


def day(minutes: float, value: float = 1.0) -> pl.DataFrame:
    return pl.DataFrame({"time": [at(minutes), at(minutes + 5)], "power_w": [value, value + 1]})


def written(frame: pl.DataFrame, kind: str) -> bytes:
    stream = BytesIO()
    frame.write_parquet(stream) if kind == ".parquet" else frame.write_csv(stream)
    return stream.getvalue()


LAKE = {
    "day=2026-03-02/host=a/part-0.parquet": day(0),
    "day=2026-03-03/host=a/part [1] *.parquet": day(1440),
    "day=2026-03-03/host=007/part-0.parquet": day(1440, 5.0),
}
ALL = {
    ("a", 0): 1.0, ("a", 5): 2.0, ("a", 1440): 1.0, ("a", 1445): 2.0, ("007", 1440): 5.0, ("007", 1445): 6.0,
}  # fmt: skip


@dataclass
class Store:
    """A bucket of a server that speaks S3."""

    options: dict[str, str]
    client: Any
    bucket: str

    def put(self, key: str, content: bytes) -> None:
        self.client.put_object(Bucket=self.bucket, Key=key, Body=content)

    def read(self, path: str, **fields: Any) -> Trace:
        url = f"s3://{self.bucket}/{path}"
        return FileSource(path=url, storage_options=self.options, entities=ENTITIES, **fields).read()


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    # The server takes its own place in AWS's settings; nobody's real credentials may be met in a test.
    kept = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("AWS_")}
    served = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    served.start()
    host, port = served.get_host_and_port()
    yield f"http://{host}:{port}"
    served.stop()
    os.environ.update(kept)


@pytest.fixture
def store(server: str, request: pytest.FixtureRequest) -> Store:
    options = {
        "aws_endpoint_url": server, "aws_access_key_id": "me", "aws_secret_access_key": SECRET,
        "aws_region": "us-east-1", "aws_allow_http": "true",
    }  # fmt: skip
    client = boto3.client(
        "s3", endpoint_url=server, aws_access_key_id="me", aws_secret_access_key=SECRET, region_name="us-east-1"
    )
    bucket = f"lake-{abs(hash(request.node.name))}"
    client.create_bucket(Bucket=bucket)
    for key, frame in LAKE.items():
        client.put_object(Bucket=bucket, Key=f"tel/{key}", Body=written(frame, ".parquet"))
    client.put_object(Bucket=bucket, Key="tel/_temporary/day=2026-03-02/host=a/half.parquet", Body=b"PAR1")
    client.put_object(Bucket=bucket, Key="telescope/host=a/other.parquet", Body=b"PAR1")
    return Store(options, client, bucket)


@pytest.mark.parametrize("path", ["tel", "tel/", "tel/*/*/*.parquet", "tel/**/*part*.parquet"])
def test_a_lake_in_a_store_is_listed_and_read(store: Store, path: str) -> None:
    trace = store.read(path, columns=HIVE)
    assert values_of(trace.telemetry) == ALL
    assert [part.name.split("/tel/")[1] for part in trace.parts] == sorted(LAKE)
    ranges = [(part.first, part.last) for part in trace.parts]
    assert ranges == [(at(0), at(5)), (at(1440), at(1445)), (at(1440), at(1445))]


def test_one_object_of_a_store_is_read_and_text_too(store: Store) -> None:
    one = store.read("tel/day=2026-03-02/host=a/part-0.parquet", columns=HIVE)
    assert values_of(one.telemetry) == {("a", 0): 1.0, ("a", 5): 2.0}
    store.put("export.csv", written(day(0).with_columns(entity_id=pl.lit("a")), ".csv"))
    assert values_of(store.read("export.csv", time_zone="UTC").telemetry) == {("a", 0): 1.0, ("a", 5): 2.0}


def test_the_key_of_a_lake_in_a_store_follows_its_objects(store: Store) -> None:
    keys = [store.read("tel", columns=HIVE).key for _ in range(2)]
    store.put("tel/day=2026-03-02/host=a/part-0.parquet", written(day(0, 3.0), ".parquet"))
    changed = store.read("tel", columns=HIVE)
    assert keys[0] == keys[1] != changed.key
    assert values_of(changed.telemetry)["a", 0] == 3.0


@pytest.mark.parametrize("path", ["tell", "tel/*.csv"])
def test_nothing_in_the_store_says_so(store: Store, path: str) -> None:
    with pytest.raises(DataError, match=rf"^s3://.*/{path[:4]}.*: no such file or folder of Parquet"):
        store.read(path)


def test_credentials_are_in_no_error_no_mapping_and_no_repr(store: Store) -> None:
    source = FileSource(
        path="s3://nowhere/tel", storage_options={**store.options, "timeout": SECRET}, entities=ENTITIES
    )
    with pytest.raises(DataError, match=r"^s3://nowhere/tel: cannot be reached: ") as refusal:
        source.read()
    for text in (str(refusal.value), repr(source), str(source.mapping())):
        assert SECRET not in text
    assert "\n" not in str(refusal.value)
    assert refusal.value.__cause__ is None


@pytest.mark.parametrize("kind", [".parquet", ".csv"])
def test_whatever_fsspec_opens_is_read(kind: str) -> None:
    memory = fsspec.filesystem("memory")
    for key, frame in LAKE.items():
        memory.pipe_file(f"/lake{kind}/{key.replace('.parquet', kind)}", written(frame, kind))
    path = f"memory://lake{kind}" if kind == ".parquet" else "memory://lake.csv/*/*/*.csv"
    source = FileSource(path=path, entities=ENTITIES, columns=HIVE, time_zone="UTC")
    trace = source.read()
    assert values_of(trace.telemetry) == ALL
    assert trace.key == source.read().key
    memory.pipe_file(f"/lake{kind}/day=2026-03-02/host=a/part-0{kind}", written(day(0, 3.0), kind))
    assert values_of(source.read().telemetry)["a", 0] == 3.0
    assert source.read().key != trace.key


def test_a_web_server_is_read(tmp_path: Path) -> None:
    day(0).with_columns(entity_id=pl.lit("a")).write_parquet(tmp_path / "x.parquet")
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever).start()
        base = f"http://127.0.0.1:{server.server_port}"
        trace = FileSource(path=f"{base}/x.parquet?token={SECRET}", entities=ENTITIES).read()
        with pytest.raises(DataError, match=r"^http://.*/gone.parquet: no such file"):
            find(f"{base}/gone.parquet")
        server.shutdown()
    assert values_of(trace.telemetry) == {("a", 0): 1.0, ("a", 5): 2.0}
    assert trace.parts[0].name == f"{base}/x.parquet"


def test_a_url_shows_neither_password_nor_query() -> None:
    with pytest.raises(DataError) as refusal:
        find("memory://me:hush@gone/x.parquet?signature=abc")
    assert str(refusal.value) == "memory://gone/x.parquet: no such file or folder of Parquet; check the path."


@pytest.mark.parametrize("scheme", ["nosuch", "hdfs"])
def test_a_kind_of_url_that_nothing_opens_is_a_mistake_of_the_settings(scheme: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{scheme}://lake: {scheme}:// cannot be opened here \("):
        find(f"{scheme}://lake")


def local_lake(folder: Path) -> Path:
    for key, frame in LAKE.items():
        (folder / key).parent.mkdir(parents=True, exist_ok=True)
        frame.write_parquet(folder / key)
    return folder


def test_partition_keys_are_columns_and_prune(tmp_path: Path) -> None:
    telemetry = FileSource(path=str(local_lake(tmp_path)), entities=ENTITIES, columns=HIVE).read().telemetry
    assert values_of(telemetry) == ALL
    one_host = telemetry.filter(pl.col("entity_id") == "007").explain()
    assert "host=007" in one_host
    assert "host=a" not in one_host
    late = telemetry.filter(pl.col("time") >= datetime(2026, 3, 3, tzinfo=UTC))
    assert 'SELECTION: col("time") >= ' in late.explain(), "the filter reaches the file, whose statistics it is held to"


def test_a_partition_key_that_is_a_column_too_is_that_column(tmp_path: Path) -> None:
    folder = tmp_path / "host=wrong" / "power_w=9"
    folder.mkdir(parents=True)
    day(0).with_columns(host=pl.lit("a")).write_parquet(folder / "x.parquet")
    telemetry = FileSource(path=str(tmp_path), entities=ENTITIES, columns=HIVE).read().telemetry
    assert values_of(telemetry) == {("a", 0): 1.0, ("a", 5): 2.0}


def test_a_renamed_partition_changes_the_key_only_where_it_is_read(tmp_path: Path) -> None:
    source = FileSource(path=str(local_lake(tmp_path)), entities=ENTITIES, columns=HIVE)
    before = source.read().key
    (tmp_path / "day=2026-03-02").rename(tmp_path / "day=2026-03-01")
    assert source.read().key == before, "the day is no column of the telemetry"
    (tmp_path / "day=2026-03-01" / "host=a").rename(tmp_path / "day=2026-03-01" / "host=b")
    assert source.read().key != before
