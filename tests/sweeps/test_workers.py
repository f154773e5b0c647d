"""Worker processes: none outlives the process that started it, and one that ends in the middle of a run has failed."""

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from helpers.fated import PROCESSES, SWEEP, begin, end, is_gone, place, run, statuses, wait_for
from longlag.sweeps import worker as module
from longlag.sweeps.worker import Died, Worker, stop

AT_WORK = ("0_fated_copy_lag6_seed0", "1_fated_copy_lag6_seed1")
TWO_THAT_HANG = (*SWEEP, "model.fate=hangs", "seed=0,1", *PROCESSES)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP])
def test_workers_end_with_their_sweep(tmp_path: Path, number: signal.Signals):
    folder = place(tmp_path, "hangs")
    process = begin(folder, *TWO_THAT_HANG)
    try:
        for name in AT_WORK:
            wait_for(folder / "sweep" / name / "last.ckpt", process)
        process.send_signal(number)
        process.wait(10)
        assert is_gone(process.pid, 10)
    finally:
        end(process.pid)
        process.stdout.close()
    (folder / "hangs").unlink()
    code, said = run(folder, "--config-dir", "conf", "resume=sweep", "hydra/launcher=in_process")
    assert code == 0, said
    assert set(statuses(folder).values()) == {"finished"}


def test_exit_code_0_in_the_middle_of_a_run_is_its_failure_at_once(tmp_path: Path):
    folder = place(tmp_path, "exits0")
    started = time.monotonic()
    code, said = run(folder, *SWEEP, "model.fate=exits0,fine", *PROCESSES, "hydra.launcher.timeout=100")
    assert time.monotonic() - started < 60
    assert code == 1
    assert statuses(folder) == {"exits0": "failed", "fine": "finished"}
    assert "its process died (exit code 0)" in said


@pytest.fixture
def worker() -> Iterator[Worker]:
    one = Worker(print)
    yield one
    stop([one])


def test_a_call_returns_or_raises_in_one_line(worker: Worker):
    assert worker.call(int, "7") == 7
    with pytest.raises(RuntimeError, match=r"^invalid literal for int"):
        worker.call(int, "seven\nand more")
    assert worker.call(int, "8") == 8


@pytest.mark.parametrize(
    ("function", "argument", "code"), [(os._exit, 0, 0), (os._exit, 3, 3), (signal.raise_signal, signal.SIGKILL, -9)]
)
def test_a_call_that_ends_its_process_is_lost_and_the_next_one_is_not(worker: Worker, function, argument, code):
    with pytest.raises(Died) as death:
        worker.call(function, argument)
    assert death.value.exit_code == code
    assert worker.call(int, "7") == 7


def test_a_worker_that_is_lost_between_two_calls_is_replaced(worker: Worker):
    first = worker.call(os.getpid)
    os.kill(first, signal.SIGKILL)  # it may or may not be gone when the next call begins
    assert worker.call(os.getpid) != first


def test_a_call_that_takes_too_long(worker: Worker):
    with pytest.raises(TimeoutError):
        worker.call(time.sleep, 60, timeout=0.2)
    assert worker.call(int, "7", timeout=20) == 7


def test_a_worker_that_cannot_be_prepared():
    one = Worker(os._exit, 5)  # not sys.exit: W&B puts a function of its own in its place, which cannot be sent
    with pytest.raises(Died, match="exit code 5"):
        one.call(int)
    stop([one])


def test_no_process_is_started_after_the_end():
    one = Worker(print)
    stop([one])
    with pytest.raises(InterruptedError):
        one.call(int)


def deaf(ready: str) -> None:
    """Heeds no SIGTERM."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    Path(ready).touch()
    time.sleep(60)


def test_a_call_that_does_not_stop_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "GRACE", 0.5)
    one = Worker(print)
    with ThreadPoolExecutor() as executor:
        call = executor.submit(one.call, deaf, str(tmp_path / "ready"))
        while not (tmp_path / "ready").exists():
            time.sleep(0.05)
        started = time.monotonic()
        stop([one])
        assert time.monotonic() - started < 10
        with pytest.raises(InterruptedError, match="stopped from outside"):
            call.result(timeout=10)
