"""A machine as the examples want it. Schedulers and their lines are real; train.py is a stand-in that ends as told."""

import os
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from smoke_run import ROOT

DEPLOY = ROOT / "deploy"

#: Ends with the next of the codes it is given; "wait" waits for a signal, and then is interrupted, resumable (75).
_TRAIN = """
import pathlib, signal, sys
codes = pathlib.Path("codes")
first, *rest = codes.read_text().split()
codes.write_text(" ".join(rest))
print("settings:", *sys.argv[1:], flush=True)
if first == "wait":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR1})
    with open("ready", "w") as ready:
        ready.write("ready")
    print("signalled:", signal.sigwait({signal.SIGTERM, signal.SIGUSR1}).name, flush=True)
    sys.exit(75)
sys.exit(int(first))
"""


@dataclass(frozen=True)
class Place:
    """Attributes: home stands for /opt/fleetcast, state for /var/lib/fleetcast."""

    home: Path
    state: Path

    @classmethod
    def make(cls, folder: Path) -> "Place":
        place = cls(folder / "opt", folder / "state")
        (place.home / "deploy").mkdir(parents=True)
        (place.home / ".venv" / "bin").mkdir(parents=True)
        (place.state / "var" / "runs").mkdir(parents=True)
        (place.home / ".venv" / "bin" / "python").symlink_to(sys.executable)
        (place.home / "train.py").write_text(_TRAIN)
        shutil.copy(DEPLOY / "train.sh", place.home / "deploy")
        os.mkfifo(place.state / "ready")
        return place

    def ends_with(self, *codes: int | str) -> None:
        (self.state / "codes").write_text(" ".join(map(str, codes)))

    def wait_until_it_runs(self) -> None:
        """Block until a run that was told "wait" is ready for a signal."""
        assert (self.state / "ready").read_text() == "ready"

    def moved(self, text: str) -> str:
        """An example, with its places replaced by these."""
        return re.sub("/var/lib/fleetcast", str(self.state), re.sub("/opt/fleetcast", str(self.home), text))
