"""Runs `python train.py` again and again, in processes forked from this one: imports take seconds, forks none.

Started by `Jobs`, with the number of a socket. A request is a line of JSON: `{"folder", "said", "arguments"}` starts
the job there, its output in the file `said`; the answer is its process, with what is asked before it changes files
(`system_calls.watch_this_process`) as the descriptor sent along. `{"wait": process}` answers with its exit code.

Exporting is the one thing that is not done again: it takes longer than all else, changes no file, and gives the same
for the same weights. What it gave is kept under a key of them, in the folder that is the second argument.
"""

import importlib
import json
import os
import runpy
import socket
import sys
import traceback
from pathlib import Path

import torch
from exported_once import remembering
from system_calls import watch_this_process

#: What is slow to import and starts no thread, which a fork would not have; Polars and ONNX Runtime start some.
_BEFORE = ("fsspec", "holidays", "hydra", "jinja2", "lightning", "matplotlib.backends.backend_agg", "numba",
           "onnxscript", "rich.console", "torch.onnx._internal.exporter._core")  # fmt: skip


def serve(asked: socket.socket) -> None:
    lines = asked.makefile()
    for line in lines:
        request = json.loads(line)
        if "wait" in request:
            _, status = os.waitpid(request["wait"], 0)
            answer = os.waitstatus_to_exitcode(status)
            asked.sendall(f"{answer}\n".encode())
        elif os.fork() == 0:
            _become_job(asked, **request)


def _become_job(asked: socket.socket, folder: str, said: str, arguments: list[str]) -> None:
    output = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
    for standard in (1, 2):
        os.dup2(output, standard)
    os.chdir(folder)
    sys.argv = ["train.py", *arguments]
    try:
        listener = watch_this_process()
    except OSError as error:
        asked.sendall(f"no run can be watched here: {error}".encode())
        os._exit(0)
    socket.send_fds(asked, [f"{os.getpid()}\n".encode()], [listener])
    os.close(listener)
    asked.close()
    code = 0
    try:
        runpy.run_path(str(Path(__file__).parents[2] / "train.py"), run_name="__main__")
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    os._exit(code)


if __name__ == "__main__":
    for module in _BEFORE:
        importlib.import_module(module)
    torch.onnx.export = remembering(torch.onnx.export, Path(sys.argv[2]))
    if len([*Path("/proc/self/task").iterdir()]) > 1:
        sys.exit("an import started threads, which a fork would not have")
    serve(socket.socket(fileno=int(sys.argv[1])))
