"""The Slurm script under a real Slurm: one node, this one."""

import getpass
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from stand_in import DEPLOY, Place

SCRIPT = DEPLOY / "slurm" / "train.sbatch"

_CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/none
CredType=cred/none
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={folder}
SlurmdSpoolDir={folder}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=1000 State=UNKNOWN
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=batch Nodes=ALL Default=YES State=UP PriorityTier=1 GraceTime=20
PartitionName=urgent Nodes=ALL State=UP PriorityTier=2 PreemptMode=OFF
"""


class Slurm:
    """A cluster of one node, and the place its jobs find."""

    def __init__(self, conf: Path, place: Place) -> None:
        self.place = place
        self._environment = os.environ | {
            "SLURM_CONF": str(conf), "FLEETCAST_HOME": str(place.home), "FLEETCAST_STATE": str(place.state),
        }  # fmt: skip

    def __call__(self, *command: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            env=self._environment,
            cwd=self.place.state,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def sbatch(self, *options: str | Path) -> subprocess.CompletedProcess[str]:
        # A small node: the script's own numbers are for a real one.
        return self("sbatch", "--mem=100M", "--cpus-per-task=1", *options)

    def until(self, job: str, pattern: str) -> str:
        """Wait until what Slurm tells of a job has `pattern`."""
        end = time.monotonic() + 60
        while time.monotonic() < end:
            told = self("scontrol", "show", "job", job).stdout
            if re.search(pattern, told):
                return told
        pytest.fail(f"no {pattern} in {told}")


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    for program in ("slurmctld", "slurmd", "sbatch"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is absent; Debian's packages slurmctld, slurmd and slurm-client bring Slurm")
    if os.geteuid():
        pytest.skip("slurmd needs root")
    folder = tmp_path_factory.mktemp("slurm")
    conf = folder / "slurm.conf"
    ports = [_free_port() for _ in range(2)]
    host, cpus = socket.gethostname().split(".")[0], os.cpu_count()
    conf.write_text(_CONF.format(host=host, ports=ports, user=getpass.getuser(), folder=folder, cpus=cpus))
    with (folder / "log").open("w") as log:
        daemons = [
            subprocess.Popen([*daemon, "-f", conf], stdout=log, stderr=log)
            for daemon in (["slurmctld", "-D", "-i"], ["slurmd", "-D"])
        ]
        try:
            cluster = Slurm(conf, Place.make(folder))
            _until_idle(cluster)
            yield cluster
        finally:
            for daemon in reversed(daemons):
                daemon.terminate()
                daemon.wait()


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


def _until_idle(cluster: Slurm) -> None:
    end = time.monotonic() + 60
    while "idle" not in (told := cluster("sinfo", "--noheader").stdout):
        assert time.monotonic() < end, told


def test_slurm_takes_the_script_and_refuses_a_wrong_one(slurm: Slurm, tmp_path: Path) -> None:
    assert slurm.sbatch("--test-only", SCRIPT).returncode == 0
    wrong = tmp_path / "wrong.sbatch"
    wrong.write_text(SCRIPT.read_text().replace("--requeue", "--requeued"))
    assert slurm.sbatch("--test-only", wrong).returncode != 0


@pytest.mark.parametrize(
    ("code", "state", "exit_code"), [(20, "FAILED", 20), pytest.param(11, "COMPLETED", 0, marks=pytest.mark.slow)]
)
def test_the_job_ends_as_the_run_does(slurm: Slurm, code: int, state: str, exit_code: int) -> None:
    slurm.place.ends_with(code)
    job = slurm.sbatch("--parsable", SCRIPT).stdout.strip()
    assert f"ExitCode={exit_code}:0" in slurm.until(job, f"JobState={state}")
    log = (slurm.place.state / f"fleetcast-train-{job}.log").read_text()
    # What `srun` says of it itself may come before.
    assert "settings: source=prometheus " in log


def test_a_run_whose_time_is_nearly_up_stops_and_goes_back_into_the_queue(slurm: Slurm) -> None:
    slurm.place.ends_with("wait", 0)
    job = slurm.sbatch("--parsable", SCRIPT).stdout.strip()
    slurm.place.wait_until_it_runs()
    slurm("scancel", "--signal=USR1", job)  # what --signal=USR1@300 does in time
    slurm.until(job, r"JobState=PENDING[^$]*Restarts=1")
    slurm("scancel", job)
    slurm.until(job, "JobState=CANCELLED")
    assert "signalled: SIGUSR1" in (slurm.place.state / f"fleetcast-train-{job}.log").read_text()


def test_a_run_that_must_make_room_goes_back_into_the_queue(slurm: Slurm) -> None:
    slurm.place.ends_with("wait", 0)
    job = slurm.sbatch("--parsable", SCRIPT).stdout.strip()
    slurm.place.wait_until_it_runs()
    urgent = slurm("sbatch", "--parsable", "--partition=urgent", "--exclusive", "--wrap=true").stdout.strip()
    slurm.until(job, r"JobState=PENDING[^$]*Restarts=1")
    slurm.until(urgent, "JobState=COMPLETED")
    slurm("scancel", job)
    assert "signalled: SIGTERM" in (slurm.place.state / f"fleetcast-train-{job}.log").read_text()


def test_a_run_that_a_person_cancels_stays_away(slurm: Slurm) -> None:
    slurm.place.ends_with("wait", 0)
    job = slurm.sbatch("--parsable", SCRIPT).stdout.strip()
    slurm.place.wait_until_it_runs()
    slurm("scancel", job)
    assert "Restarts=0" in slurm.until(job, r"JobState=CANCELLED[^$]*EndTime")
    assert "signalled: SIGTERM" in (slurm.place.state / f"fleetcast-train-{job}.log").read_text()


@pytest.mark.slow
def test_two_runs_never_run_at_once(slurm: Slurm) -> None:
    slurm.place.ends_with("wait", 0)
    first, second = (slurm.sbatch("--parsable", SCRIPT).stdout.strip() for _ in range(2))
    slurm.place.wait_until_it_runs()
    assert "Dependency=singleton" in slurm.until(second, "JobState=PENDING")
    for job in (second, first):
        slurm("scancel", job)
        slurm.until(job, "JobState=CANCELLED")
