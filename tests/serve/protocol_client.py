"""A client of the Open Inference Protocol over HTTP that sends what it is told to, right or wrong."""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from running import Reply, ask

HEADER = "inference-header-content-length"
Tensors = dict[str, np.ndarray]


@dataclass(frozen=True)
class Target:
    """A server under test: its address, and a model that takes and gives FP32 tensors with a batch in front."""

    address: str
    model: str

    @property
    def path(self) -> str:
        return f"/v2/models/{self.model}"

    def ask(self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Reply:
        return ask(self.address, method, path, body, headers)

    def infer(self, request: dict[str, Any], path: str | None = None) -> Reply:
        body = json.dumps(request).encode()
        return self.ask("POST", f"{path or self.path}/infer", body, {"content-type": "application/json"})

    def metadata(self) -> dict[str, Any]:
        return self.ask("GET", self.path).json

    def tensors(self, rows: int, seed: int = 0) -> Tensors:
        random = np.random.default_rng(seed)
        shapes = {one["name"]: [rows, *one["shape"][1:]] for one in self.metadata()["inputs"]}
        return {name: random.uniform(1, 9, shape).astype(np.float32) for name, shape in shapes.items()}

    def request(self, rows: int, seed: int = 0) -> dict[str, Any]:
        return {"inputs": [plain(name, array) for name, array in self.tensors(rows, seed).items()]}


def plain(name: str, array: np.ndarray, *, nested: bool = False) -> dict[str, Any]:
    data = array.tolist() if nested else array.ravel().tolist()
    return {"name": name, "shape": list(array.shape), "datatype": "FP32", "data": data}


def arrays(response: dict[str, Any]) -> Tensors:
    return {one["name"]: np.array(one["data"], np.float32).reshape(one["shape"]) for one in response["outputs"]}


def binary(tensors: Tensors, **more: Any) -> tuple[bytes, dict[str, str]]:
    """A request with tensors as bytes, and its headers."""
    inputs = [
        {"name": name, "shape": list(array.shape), "datatype": "FP32", "parameters": {"binary_data_size": array.nbytes}}
        for name, array in tensors.items()
    ]
    head = json.dumps({"inputs": inputs, **more}).encode()
    body = head + b"".join(array.astype("<f4").tobytes() for array in tensors.values())
    return body, {HEADER: str(len(head)), "content-type": "application/octet-stream"}
