"""Real brokers on the loopback, as the distribution ships them."""

import getpass
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from loopback import free_port, wait_until


@dataclass
class Broker:
    """A broker that starts, ends and starts again on the same port, with what it keeps in `folder`."""

    program: str
    arguments: Sequence[str]
    port: int
    folder: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen([_found(self.program), *self.arguments], stdout=log, stderr=log)
        wait_until(lambda: answers(self.port), f"{self.program} listens", 10)

    def freeze(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()  # as an outage does
            self.process.wait(10)
            self.process = None


def _found(program: str) -> str:
    where = shutil.which(program, path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin:/sbin:/bin")
    if where is None:
        pytest.skip(f"no {program}; install Debian's package {program}")
    return where


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


@contextmanager
def mosquitto(folder: Path, more: str = "allow_anonymous true") -> Iterator[Broker]:
    """Not started; it keeps nothing from one start to the next."""
    port = free_port()
    settings = folder / "mosquitto.conf"
    general = f"user {getpass.getuser()}\nmax_queued_messages 0"
    settings.write_text(f"{general}\nlistener {port} 127.0.0.1\n{more}\n")
    yield from _ended(Broker("mosquitto", ["-c", str(settings)], port, folder))


@contextmanager
def nats_server(folder: Path, *more: str) -> Iterator[Broker]:
    """With JetStream, not started; its streams outlive it."""
    port = free_port()
    arguments = ["-js", "-sd", str(folder / "streams"), "-a", "127.0.0.1", "-p", str(port), *more]
    yield from _ended(Broker("nats-server", arguments, port, folder))


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for the loopback that vouches for itself, and its key."""
    made, key = folder / "tls.crt", folder / "tls.key"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    command[0] = _found("openssl")
    subprocess.run([*command, *names, "-keyout", key, "-out", made], check=True, capture_output=True)
    return made, key


def _ended(broker: Broker) -> Iterator[Broker]:
    try:
        yield broker
    finally:
        broker.stop()
