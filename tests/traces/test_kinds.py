"""Sources told in files are those that Hydra composes; each mistake is one line with the nearest right name."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml
from smoke_run import ROOT, settings, train

from forecast.contracts.errors import ConfigError
from forecast.retrain.config import plain
from forecast.traces.files import EntitySpec, FileSource
from forecast.traces.kinds import kinds, read_source
from forecast.traces.long import LongSource
from forecast.traces.metrics import MetricSpec
from forecast.traces.prometheus import PrometheusSource
from forecast.traces.settings import JobsSpec, SlurmSpec
from forecast.traces.simulated import SimulatedSource

NAMES = sorted(path.stem for path in (ROOT / "configs" / "source").glob("*.yaml"))


def told(folder: Path, text: str, name: str = "my_site.yaml") -> Path:
    (folder / name).write_text(text)
    return folder / name


def refusal(folder: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read_source(told(folder, text))
    assert "\n" not in str(caught.value)
    return str(caught.value).replace(str(folder), "")


def test_every_kind_is_known_by_its_file() -> None:
    assert kinds() == {
        "files": FileSource,
        "long": LongSource,
        "prometheus": PrometheusSource,
        "simulated": SimulatedSource,
    }


@pytest.mark.parametrize("name", NAMES)
def test_what_a_run_leaves_behind_describes_the_source_it_had(name: str, tmp_path: Path) -> None:
    config = settings(f"source={name}")
    assert read_source(told(tmp_path, json.dumps(plain(config)), "settings.json")) == config.source


@pytest.mark.parametrize("name", NAMES)
def test_what_cfg_prints_describes_it(name: str, tmp_path: Path) -> None:
    printed = train(f"source={name}", "--cfg", "job", "--package", "source")
    assert printed.returncode == 0
    assert read_source(told(tmp_path, printed.stdout)) == settings(f"source={name}").source


@pytest.mark.parametrize("name", [name for name in NAMES if name != "prometheus"])
def test_the_yaml_that_trains_describes_it(name: str) -> None:
    assert read_source(ROOT / "configs" / "source" / f"{name}.yaml") == settings(f"source={name}").source


def test_by_hand_as_people_write(tmp_path: Path) -> None:
    text = """
        path: /data/telemetry
        columns: {time: ts, entity_id: host, power_w: kw}
        units: {power_w: kW}
        until: 2026-06-01
        entities:
          "007": &one {power_limit_w: 1e3, country: NO}
          8: {power_limit_w: 1_000.5, since: 2026-01-01T00:00:00Z}
        jobs: {path: sacct.txt, time_zone: Europe/Oslo, slurm: {power_per_gpu_w: {h100: 700}, reservations: }}
    """
    expected = FileSource(
        path="/data/telemetry",
        columns={"time": "ts", "entity_id": "host", "power_w": "kw"},
        units={"power_w": "kW"},
        until="2026-06-01",
        entities={
            "007": EntitySpec(power_limit_w=1000.0),
            "8": EntitySpec(power_limit_w=1000.5, since="2026-01-01T00:00:00Z"),
        },
        jobs=JobsSpec("sacct.txt", time_zone="Europe/Oslo", slurm=SlurmSpec(power_per_gpu_w={"h100": 700.0})),
    )
    assert read_source(told(tmp_path, text.replace(", country: NO", ""))) == expected
    tree = read_source(told(tmp_path, "path: x\ntree: {country: NO, time_zone: Europe/Oslo}"))
    assert isinstance(tree, FileSource)
    assert tree.tree is not None
    assert tree.tree.country == "NO"  # and not false, as YAML would guess
    sensors = read_source(told(tmp_path, "path: x\nmetrics: {draw: {unit: kW, sentinels: [0, 1e9]}}"))
    assert sensors == LongSource(path="x", metrics={"draw": MetricSpec(unit="kW", sentinels=[0.0, 1e9])})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("path: x\ncolums: {time: t}", "/my_site.yaml has no 'colums'; did you mean 'columns'?"),
        ("source: {path: x, tims_zone: UTC}", "/my_site.yaml: source has no 'tims_zone'; did you mean 'time_zone'?"),
        ("url: http://x\nmetric: {}", "/my_site.yaml has no 'metric'; did you mean 'metrics'?"),
        ("kind: prometeus\nurl: x", "/my_site.yaml.kind: no 'prometeus'; did you mean 'prometheus'?"),
        ("path: x\ntree: {levle: gpu}", "/my_site.yaml.tree has no 'levle'; did you mean 'level'?"),
        (
            "path: x\nentities: {a: {power_limit_w: much}}",
            "/my_site.yaml.entities.a.power_limit_w must be a number, not 'much'.",
        ),
        ("url: x\nattempts: 1.5", "/my_site.yaml.attempts must be a whole number, not '1.5'."),
        ("path: [x]", "/my_site.yaml.path must be text, not a list."),
        ("path:", "/my_site.yaml.path must be text, not nothing."),
        ("path: x\nunits: kW", "/my_site.yaml.units must be a table (key: value), not 'kW'."),
        ("path: x\ntree: {patterns: a}", "/my_site.yaml.tree.patterns must be a list, not 'a'."),
        ("path: x\nentities: {a: 1}", "/my_site.yaml.entities.a must be a table of settings (key: value), not '1'."),
        ("_target_: os.system\npath: x", "/my_site.yaml has no '_target_'; known are"),
        ("!!python/object/apply:os.system [ls]", "/my_site.yaml: is no YAML or JSON"),
        ("path: {", "/my_site.yaml: is no YAML or JSON"),
        ("- path: x", "/my_site.yaml: describes no source"),
        ("", "/my_site.yaml: describes no source"),
        ("source: x", "/my_site.yaml: source must be a table"),
        (
            "source: {path: '${oc.env:HOME}'}",
            "python train.py source=my_site --cfg job --package source > my_site.yaml",
        ),
        ("defaults: [prometheus_schema@source, {/metrics@source: [dcgm]}]\nsource: {url: x}", "from other files"),
    ],
)
def test_a_mistake_is_one_line(text: str, words: str, tmp_path: Path) -> None:
    assert words in refusal(tmp_path, text)


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere.yaml: cannot be read \(No such file"):
        read_source(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{until: 2026-01-01}", "source.path is not set"),
        ("{path: x, units: {power_w: kv}}", "units.power_w='kv'; known are"),
        ("{path: x, columns: {power: w}}", "columns maps 'power'"),
        ("{path: x, metrics: {a: {signal: pwr}}}", "metrics.a"),
        ("{kind: prometheus}", "source.url is not set"),
        ("{url: 'ftp://x', metrics: {a: {}}}", "must begin with http"),
        (
            "{url: 'http://x', metrics: {a: {}}, entity: {a: '{host}'}, headers_env: {X: NOT_SET_1}}",
            "no variable NOT_SET_1",
        ),
    ],
)
def test_settings_that_cannot_be_are_refused_before_anything_is_read(text: str, words: str, tmp_path: Path) -> None:
    source: Any = read_source(told(tmp_path, text))
    with pytest.raises(ConfigError) as caught:
        source.check()
    assert words in str(caught.value)


def test_yaml_that_is_dumped_is_read_again(tmp_path: Path) -> None:
    source = settings("source=harvard_ipmi").source
    assert read_source(told(tmp_path, yaml.safe_dump({"kind": "long", **asdict(source)}))) == source
