"""Sweeps on clusters: a real Slurm and a real Ray of one machine give what this process gives, and cells go on."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from helpers.command import compose, overrides_of, train
from helpers.fated import SWEEP as FATED
from helpers.fated import begin, found, is_gone, place, run, statuses, wait_for
from helpers.places import ROOT
from helpers.results import timeless
from longlag.settings import check

PAGE = (ROOT / "docs" / "clusters.md").read_text(encoding="utf-8")
CELLS = (
    *("-m", "task=copy", "lag=6,8", "seed=0,1", "model.hidden_size=8", "max_steps=6", "validation.every=2"),
    *("validation.sequences=16", "eval.sequences=16", "eval.lags=[6]", "logger=csv", "trainer=cpu"),
    "hydra.sweep.dir=sweep",
)
SMALL_JOBS = ("hydra.launcher.mem_gb=null", "hydra.launcher.cpus_per_task=1", "hydra.launcher.timeout_min=10")
SLURM = ("hydra/launcher=submitit_slurm", *SMALL_JOBS)
RAY = ("hydra/launcher=ray",)
LOCAL = ("hydra/launcher=submitit_local", "hydra.launcher.at_once=2")
DAEMONS = ("munged", "slurmctld", "slurmd", "sbatch")
CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
ReturnToService=2
BatchStartTimeout=2
KillWait=5
MpiDefault=none
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


COMMANDS = [line for line in PAGE.splitlines() if line.startswith("    longlag train")]


def test_the_page_has_commands():
    assert len(COMMANDS) >= 8


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_of_the_page_compose(command: str, tmp_path: Path):
    check(compose(*overrides_of(command, tmp_path)))


@pytest.fixture(scope="module")
def here(tmp_path_factory) -> dict[str, dict]:
    """The sweep in this process."""
    folder = tmp_path_factory.mktemp("here")
    code, said = train(folder, *CELLS)
    assert code == 0, said
    return found(folder)


def alike(folder: Path, here: dict[str, dict]) -> bool:
    there = found(folder)
    assert {record["status"] for record in there.values()} == {"finished"}
    return {name: timeless(record) for name, record in there.items()} == {
        name: timeless(record) for name, record in here.items()
    }


@pytest.mark.parametrize(
    ("launcher", "module", "extra"), [("submitit_slurm", "submitit", "slurm"), ("ray", "ray", "ray")]
)
def test_an_extra_that_is_missing(tmp_path: Path, monkeypatch, launcher: str, module: str, extra: str):
    monkeypatch.setitem(sys.modules, module, None)
    code, said = train(tmp_path, *CELLS, f"hydra/launcher={launcher}")
    assert code == 1
    assert said == f"longlag: this launcher needs {module}: pip install 'longlag[{extra}]'\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_jobs_on_this_machine(tmp_path: Path):
    pytest.importorskip("submitit", reason="the extra `slurm` is not installed")
    folder = place(tmp_path, "raises", "exits")
    code, said = run(folder, *FATED, "model.fate=fine,raises,exits", *LOCAL)
    assert code == 1
    assert statuses(folder) == {"fine": "finished", "raises": "failed", "exits": "failed"}
    assert "[3 of 3 runs, 2 failed]" in said
    assert "RuntimeError: a fault of the core" in said
    assert "ChildProcessError: its job was lost; see sweep/.submitit/" in said
    assert "Traceback" not in said
    for fate in ("raises", "exits"):
        (folder / fate).unlink()
    code, said = run(folder, "--config-dir", "conf", "resume=sweep")
    assert code == 0, said
    assert "1 of 3 runs have ended already" in said
    assert set(statuses(folder).values()) == {"finished"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "launcher"),
    [
        ("submitit", (*LOCAL, "trainer=ddp", "trainer.accelerator=cpu")),
        pytest.param("ray", RAY, marks=pytest.mark.ray),
    ],
)
def test_terminated(tmp_path: Path, module: str, launcher: tuple[str, ...]):
    pytest.importorskip(module, reason="an extra that is not installed")
    folder = place(tmp_path, "hangs")
    process = begin(folder, *FATED, "model.fate=fine,hangs", *launcher)
    try:
        wait_for(folder / "sweep" / "1_fated_copy_lag6_seed0" / "last.ckpt", process)
        while statuses(folder).get("fine") != "finished":
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGTERM)
        said, _ = process.communicate(timeout=60)
        assert is_gone(process.pid, 30)
    finally:
        process.kill()
    assert process.returncode == 130, said
    assert statuses(folder) == {"fine": "finished", "hangs": "interrupted"}
    assert "longlag: stopped with 1 of 2 runs" in said.splitlines()[-1]
    assert "Traceback" not in said


@pytest.fixture(scope="module")
def slurm(tmp_path_factory) -> Iterator[Path]:
    """A Slurm of this machine alone; the folder of its log files."""
    if not all(map(shutil.which, DAEMONS)) or os.geteuid():
        pytest.skip("no Slurm here: as root, apt-get install slurm-wlm munge")
    pytest.importorskip("submitit", reason="the extra `slurm` is not installed")
    folder = tmp_path_factory.mktemp("slurm")
    folder.chmod(0o755)
    for name in ("state", "spool"):
        (folder / name).mkdir()
    (folder / "key").write_bytes(os.urandom(128))
    (folder / "key").chmod(0o400)
    conf = folder / "slurm.conf"
    host = socket.gethostname().split(".")[0]
    conf.write_text(CONFIGURATION.format(folder=folder, host=host, ports=free_ports(2)))
    files = {name: f"--{name}-file={folder}/munge.{name}" for name in ("pid", "log", "seed")}
    munged = ["munged", "-F", "--force", f"--socket={folder}/munge.socket", f"--key-file={folder}/key", *files.values()]
    daemons = [munged, ["slurmctld", "-D", "-f", str(conf)], ["slurmd", "-D", "-f", str(conf), "-N", host]]
    with pytest.MonkeyPatch.context() as patch, (folder / "daemons.log").open("w") as said:
        patch.setenv("SLURM_CONF", str(conf))
        running = []
        try:
            for command in daemons:
                running.append(subprocess.Popen(command, stdout=said, stderr=said))
                time.sleep(1)
            until(lambda: "idle" in told("sinfo", "-h", "-o", "%T"), 60, folder / "daemons.log")
            yield folder
        finally:
            subprocess.run(["scancel", "--full", "--user=root"], check=False)
            for daemon in reversed(running):
                daemon.terminate()
                daemon.wait(30)


def free_ports(number: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def told(*command: str) -> str:
    return subprocess.run(command, check=False, capture_output=True, text=True).stdout


def until(holds: Callable[[], bool], seconds: float, log: Path) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.2)


@pytest.mark.slurm
def test_a_sweep_on_slurm_and_a_strangers_checkpoint(slurm: Path, here: dict[str, dict], tmp_path: Path):
    (tmp_path / "hpc_ckpt_1.ckpt").write_bytes(b"somebody else's")
    code, said = train(tmp_path, *CELLS, *SLURM)
    assert code == 0, said + (slurm / "daemons.log").read_text()
    assert "[4 of 4 runs]" in said
    assert alike(tmp_path, here)
    assert (tmp_path / "hpc_ckpt_1.ckpt").read_bytes() == b"somebody else's"
    code, said = train(tmp_path, "resume=sweep", "seed=0,1,2")
    assert code == 0, said
    assert "4 of 6 runs have ended already" in said


@pytest.mark.slurm
def test_what_slurm_refuses(slurm: Path, tmp_path: Path):
    code, said = train(tmp_path, *CELLS, *SLURM, "hydra.launcher.partition=nowhere")
    assert code == 1
    assert "longlag: " in said
    assert "invalid partition" in said.splitlines()[-1]


@pytest.mark.slurm
def test_a_cell_of_two_processes_on_slurm(slurm: Path, here: dict[str, dict], tmp_path: Path):
    code, said = train(tmp_path, *CELLS, "lag=6", "seed=0", "trainer=ddp", "trainer.accelerator=cpu", *SLURM)
    assert code == 0, said + (slurm / "daemons.log").read_text()
    ((name, record),) = found(tmp_path).items()
    assert (record["status"], record["environment"]["processes"]) == ("finished", 2)
    assert record["test"]["loss"] == pytest.approx(here[name]["test"]["loss"], rel=1e-4)


@pytest.mark.slurm
def test_a_cell_that_is_queued_again_goes_on(slurm: Path, tmp_path: Path, monkeypatch):
    folder = place(tmp_path, "hangs")
    monkeypatch.setenv("SUBMITIT_PREEMPT_SIGNAL", "USR1")
    process = begin(folder, *FATED, "model.fate=hangs", *SLURM)
    try:
        cell = folder / "sweep" / "0_fated_copy_lag6_seed0"
        wait_for(cell / "last.ckpt", process)
        told("scancel", "--signal=USR1", *told("squeue", "-h", "-o", "%A").split())
        until(lambda: "Restarts=1" in told("scontrol", "show", "job"), 60, slurm / "daemons.log")
        (folder / "hangs").unlink()
        said, _ = process.communicate(timeout=200)
    finally:
        process.kill()
    assert process.returncode == 0, said
    assert statuses(folder) == {"hangs": "finished"}
    output = (cell / "output.log").read_text()
    assert [output.count(f"step {step}/6") for step in (2, 4, 6)] == [1, 1, 1]


@pytest.mark.ray
def test_a_sweep_on_ray(here: dict[str, dict], tmp_path: Path):
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    place(tmp_path)
    process = begin(tmp_path, *CELLS, *RAY)
    said, _ = process.communicate(timeout=280)
    assert process.returncode == 0, said
    assert "[4 of 4 runs]" in said
    assert alike(tmp_path, here)
    assert json.loads((tmp_path / "sweep" / next(iter(here)) / "record.json").read_text())["command"]
