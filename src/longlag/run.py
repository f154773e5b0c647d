"""The recipe of a run: configuration -> task, network, learner, trainer -> fit -> measure -> record.

The only place that makes objects from configuration.
"""

import hashlib
import logging
import time
from collections.abc import Mapping
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from longlag import budget, malloc, ranks, records, targets
from longlag.callbacks import ProbeGradients, ShowProgress, Watch, showing_test
from longlag.checkpoints import Checkpoints, forget, load_weights, to_go_on_from
from longlag.learner import Learner
from longlag.measure.cost import environment, parameters, peak_memory_bytes, watch_memory
from longlag.measure.gradients import SEQUENCES, Profile, gradient_over_distance
from longlag.measure.lags import default_lags, over_lags, score
from longlag.network import Network
from longlag.records import Record
from longlag.records.schema import Artifact, Cost, LagPoint, Test
from longlag.report import figures, summary
from longlag.resume import begun
from longlag.settings import check, plain
from longlag.sizes import matched
from longlag.stream import Seeds, Streams, fixed_batches
from longlag.targets import build
from longlag.tasks.task import Task
from longlag.tracking import tracking
from longlag.trainer import all_threads, make_trainer, quietly, starts_processes

log = logging.getLogger(__name__)


class TrainedRun(NamedTuple):
    """What a run's folder holds: the network with its best-validation weights, the task, the record."""

    network: Network
    task: Task
    record: Record


def run(
    cfg: DictConfig,
    folder: Path,
    model: str,
    task: str,
    command: str | None = None,
    go_on: bool = False,
    claimed: bool = False,
) -> Record:
    """One run, from configuration to record.

    Args:
        cfg: as `conf/config.yaml` composes it, checked by `settings.check`.
        folder: the run's own; `record.json`, `model.ckpt` and the picture go there.
        model, task: the names that were chosen.
        command: that makes this run, for the record.
        go_on: from the last checkpoint in the folder, or from the beginning where there is none.
        claimed: the folder is kept to this run already, by the process that started this one.

    Returns:
        The record, as it was written.

    Raises:
        ValueError, FileExistsError: where the run cannot be as configured; nothing has been written then.
        BlockingIOError: where another process is at work on it.
        Diverged, KeyboardInterrupt, or whatever else stopped it; the record says so.
    """
    torch.set_num_threads(cfg.runtime.threads or all_threads())
    malloc.use(cfg.runtime.malloc)
    the_task, seeds = make_task(cfg), Seeds(cfg.seed, cfg.stream)
    sizes = sizes_to_match(cfg, the_task)
    torch.manual_seed(cfg.seed)
    network = make_network(cfg, the_task, sizes)
    lags = lags_to_test(cfg, the_task)
    training_lags = build(cfg.lag_mode, targets.LAG_MODE, task=the_task)
    optimizer = build(cfg.optimizer, targets.OPTIMIZER)
    learner = Learner(network, the_task, optimizer, cfg.lr_schedule, cfg.warmup_steps, training_lags)
    watch = Watch(the_task.solved_at, budget.of(cfg, the_task.memoryless_loss))
    probe = ProbeGradients(partial(measure_gradients, network, the_task, seeds))
    watchers = [ShowProgress(f"{model} · {task} · lag {cfg.lag}"), Checkpoints(folder, cfg.runtime.checkpoint_seconds)]
    trainer = make_trainer(cfg, folder, [watch, probe, *watchers])
    checked = network.check(the_task, lags if cfg.eval.sequences else [], trainer.strategy.root_device)
    if not checked.exact:
        probe.measure = None
    record = new_record(cfg, the_task, {"model": model, "task": task, "command": command}, folder if go_on else None)
    if not claimed:
        tell_remarks(the_task)
    is_first = rank_zero_only.rank == 0  # of a ddp run's processes: the one that writes
    if starts_processes(trainer):
        resolved = records.as_config(OmegaConf.to_container(cfg, resolve=True))
        arguments = resolved, folder, model, task, command, go_on, True
        return in_processes(trainer, record, folder, go_on, arguments)
    if not is_first:
        torch.manual_seed(cfg.seed + rank_zero_only.rank)  # each drops out other units

    with (
        records.claimed(folder, go_on) if is_first and not claimed else nullcontext(),
        tracking(cfg, folder, record, the_task) as trainer.loggers,
        records.recording(record, folder, is_first),
    ):
        record["environment"] = environment(trainer.strategy.root_device) | {"processes": trainer.world_size}
        watch_memory(trainer.strategy.root_device)
        start = to_go_on_from(folder) if go_on else None
        try:
            if is_first and not start:
                probe.at(step=0)
            with quietly():
                streams = Streams(the_task, training_lags, seeds, cfg.batch_size, cfg.validation.sequences)
                trainer.fit(learner, streams, ckpt_path=start, weights_only=True)
        finally:
            record |= outcome(watch, cfg)
            record["training_lags"] = training_lags.until(trainer.global_step)
            record["cost"] = cast("Cost", parameters(network) | sizes | cost(watch, probe, trainer, cfg.batch_size))
            record["cost"]["check_seconds"] = checked.seconds
            record |= gradients(probe)
        if is_first:
            network.to(trainer.strategy.root_device)
            evaluate(record, folder, network, the_task, cfg, lags, probe)
    if is_first:
        forget(folder)
        summary.show(record, folder)
    return record


def load(folder: str | Path) -> TrainedRun:
    """The trained network, its task and its record, from a run's folder.

    Raises:
        FileNotFoundError: where there is no run, or it has no weights.
        ValueError: where a file is broken, the corpus is another one now, or a file names what may not be made
            (see `targets`).
    """
    record = records.read(folder)
    cfg = records.config_of(record)
    check(cfg)
    task = make_task(cfg)
    check_data(record, task, Path(folder))
    check_artifacts(record, Path(folder))
    network = make_network(cfg, task, sizes_to_match(cfg, task))
    load_weights(network, Path(folder))
    return TrainedRun(network.eval(), task, record)


def new_record(cfg: DictConfig, task: Task, names: Mapping[str, Any], goes_on: Path | None) -> Record:
    """The record of a run that is about to begin, or to go on in the folder `goes_on`.

    Raises ValueError where it was begun with other data than the task has now.
    """
    record = records.new(plain(cfg), names["model"], names["task"])
    record["data"], record["command"] = task.provenance, names["command"]
    record["sequences"]["gradient"] = SEQUENCES
    if goes_on and (there := begun(goes_on)):
        check_data(there, task, goes_on)
        record["started"] = there["started"]
    return record


def check_data(record: Record, task: Task, folder: Path) -> None:
    """Raise ValueError where a run was trained on other data than the task has now."""
    trained_on, found = record["data"].get("sha256"), task.provenance.get("sha256")
    if trained_on != found:
        raise ValueError(f"{folder}: the run was trained on a corpus of sha256 {trained_on}; it is {found} now")


def check_artifacts(record: Record, folder: Path) -> None:
    """Raise ValueError where the weights are not those that the run left; records before schema 2 do not say."""
    for one in record["artifacts"]:
        if one["file"] == records.WEIGHTS and one != artifact(folder / records.WEIGHTS):
            raise ValueError(f"{folder / records.WEIGHTS} is not the file that this run wrote: its sha256 differs")


def artifact(path: Path) -> Artifact:
    """What the record says of a file beside it. Raises FileNotFoundError without one."""
    if not path.is_file():
        raise FileNotFoundError(f"{path.parent} has no {path.name}")
    return {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def make_task(cfg: DictConfig) -> Task:
    """The task, at `lag`."""
    task: Task = build(cfg.task, targets.TASK)
    return task


def tell_remarks(task: Task) -> None:
    """Log what is odd about the text that a task reads; of a ddp run the first process does."""
    if rank_zero_only.rank == 0:
        for remark in task.provenance.get("remarks", []):
            log.warning("%s", remark)


def make_network(cfg: DictConfig, task: Task, sizes: Mapping[str, int] | None = None) -> Network:
    """The network: the core that `model` describes, `sizes` apart, between the task's read-in and read-out."""
    return Network(task, partial(build, cfg.model, targets.CORE, **(sizes or {})))


def sizes_to_match(cfg: DictConfig, task: Task) -> dict[str, int]:
    """The widths that make `budget.parameters`; none where it is null. Raises ValueError where there are none."""
    wanted = cfg.budget.parameters
    return {} if wanted is None else matched(lambda **sizes: make_network(cfg, task, sizes), cfg.model, wanted)


def lags_to_test(cfg: DictConfig, task: Task) -> list[int]:
    """`eval.lags` or the default ones. Raises ValueError where the task has no such lag: now, not after training."""
    lags = list(cfg.eval.lags or default_lags(task))
    for lag in lags:
        task.on_curve(lag)
    return lags


def in_processes(trainer: pl.Trainer, record: Record, folder: Path, go_on: bool, arguments: tuple[Any, ...]) -> Record:
    """`run(*arguments)` in a process for each device; the record that the first of them wrote.

    A run that a process is lost of has failed, even if none is left to write that down.
    """
    cluster, number = trainer.strategy.cluster_environment, trainer.world_size
    shared = {"MASTER_ADDR": cluster.main_address, "MASTER_PORT": str(cluster.main_port), "WORLD_SIZE": str(number)}
    shared |= {"NODE_RANK": "0", "OMP_NUM_THREADS": str(torch.get_num_threads())}
    with records.claimed(folder, go_on):
        try:
            ranks.together([shared | {"LOCAL_RANK": str(rank)} for rank in range(number)], run, *arguments)
        except Exception as error:
            left = begun(folder) or record
            if left["status"] not in ("finished", "diverged"):
                left["status"], left["error"] = "failed", f"{type(error).__name__}: {error}"
                records.write(left, folder)
            raise
    ended = records.read(folder)
    if ended["status"] != "finished":
        raise KeyboardInterrupt
    return ended


def evaluate(
    record: Record, folder: Path, network: Network, task: Task, cfg: DictConfig, lags: list[int], probe: ProbeGradients
) -> None:
    """All that is measured after the training, on the best-validation weights, put into the record as it is measured.

    What has been measured is in the record, and written, should the next fail.
    """
    record["best_step"] = best_step = load_weights(network, folder)
    record["artifacts"] = [artifact(folder / records.WEIGHTS)]
    probe.at(best_step)
    record |= gradients(probe)
    records.write(record, folder)
    started = time.monotonic()
    try:
        measure(network, task, cfg, lags, record, folder)
    finally:
        record["cost"]["test_seconds"] = time.monotonic() - started
    figures.draw(record, folder)
    if sample := record["example"].get("sample"):
        records.write_text(folder / records.SAMPLE, sample["text"] + "\n")


def measure(network: Network, task: Task, cfg: DictConfig, lags: list[int], record: Record, folder: Path) -> None:
    """The test at the trained lag, the lag curve and an example; without test sequences, nothing."""
    if not cfg.eval.sequences:
        return
    seeds, sequences = Seeds(cfg.seed, cfg.stream), cfg.eval.sequences
    record["sequences"]["test"] = sequences
    with showing_test(len(lags)) as tell:
        test = score(network, task, seeds, sequences)
        record["test"] = cast("Test", {**test, **task.baselines, "sequences": sequences})
        records.write(record, folder)

        def keep(point: LagPoint) -> None:
            record["lag_curve"].append(point)
            records.write(record, folder)
            tell(point)

        over_lags(network, task, lags, seeds, sequences, keep, test)
    record["example"] = example(network, task, seeds)


def measure_gradients(network: Network, task: Task, seeds: Seeds, step: int) -> Profile:
    """The gradient over distance, on the first validation sequences."""
    return gradient_over_distance(network, task, next(fixed_batches(task, "val", seeds, SEQUENCES)), step)


def gradients(probe: ProbeGradients) -> Any:
    """The gradient over distance at every step it was measured at, as the record has it."""
    return {
        "gradient": [point for profile in probe.profiles for point in profile.points],
        "gradient_scalars": [profile.scalars for profile in probe.profiles],
    }


def example(network: Network, task: Task, seeds: Seeds) -> dict[str, Any]:
    """What the task has to show of the trained network, made from its test data."""
    device = next(network.parameters()).device
    network.eval()
    predict = lambda inputs, steps: network(inputs.to(device), steps.to(device)).cpu()  # noqa: E731
    return task.part("test").example(predict, seeds.generator("example", task.stream_lag, 0))


def outcome(watch: Watch, cfg: DictConfig) -> Any:
    """How it learned, whether it was solved and what that took, as the record has it."""
    steps = watch.steps_to_solve
    return {
        "learning_curve": watch.curve,
        "ended_by": budget.last_of(cfg) if watch.ended_by == "steps" else watch.ended_by,
        "solved": watch.solved,
        "steps_to_solve": steps,
        "sequences_to_solve": None if steps is None else steps * cfg.batch_size,
        "seconds_to_solve": watch.seconds_to_solve,
    }


def cost(watch: Watch, probe: ProbeGradients, trainer: pl.Trainer, batch_size: int) -> dict[str, Any]:
    """Time and memory of the training, as the record has it; tokens per second are of the training steps alone."""
    stepping = watch.seconds - watch.validation_seconds - probe.seconds
    return {
        "steps": trainer.global_step,
        "sequences": trainer.global_step * batch_size,
        "seconds": watch.seconds,
        "computing_seconds": watch.computing_seconds,
        "validation_seconds": watch.validation_seconds,
        "probe_seconds": probe.seconds,
        "tokens_per_second": watch.tokens / stepping if stepping > 0 else None,
        "peak_memory_bytes": peak_memory_bytes(trainer.strategy.root_device),
    }
