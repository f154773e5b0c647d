"""One run from its plan to its record: prepare -> fit -> evaluate."""

import logging
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import NamedTuple, cast

import pytorch_lightning as pl
import torch
from omegaconf import OmegaConf
from pytorch_lightning.utilities.rank_zero import rank_zero_only
from torch import nn

from longlag import records
from longlag.assemble import lags_to_test, make_lag_mode, make_network, make_optimizer, make_task, sizes_to_match
from longlag.measure.cost import environment, parameters, watch_memory
from longlag.measure.gradients import SEQUENCES, Profile, gradient_over_distance
from longlag.measure.lags import over_lags, score
from longlag.models.network import Network
from longlag.records import Record
from longlag.records.schema import Artefact, Cost, LagPoint, Stage, Test
from longlag.report import artefacts, figures
from longlag.results import artifact, check_artifacts, check_data, cost, gradients, new_record, outcome
from longlag.resume import RunPlan, begun
from longlag.settings import check
from longlag.stream import Seeds, Streams, fixed_batches
from longlag.tasks.task import Task
from longlag.tracking.logger import tracking
from longlag.training import budget, malloc, processes
from longlag.training.callbacks import ProbeGradients, ShowProgress, Watch, showing_test
from longlag.training.checkpoints import Checkpoints, forget, load_weights, to_go_on_from
from longlag.training.kernels import Kernels
from longlag.training.learner import Learner
from longlag.training.trainer import all_threads, make_trainer, quietly, starts_processes

log = logging.getLogger(__name__)


class Prepared(NamedTuple):
    """All objects of a run, before its first step; nothing has been written yet.

    Attributes:
        plan: the settings and the folder of the run.
        task, network, seeds: the task, the network (on the CPU), and the seeds of the data.
        sizes: widths that follow from `budget.parameters`; empty if it is null.
        lags: the lags to test at.
        learner, trainer: the LightningModule and the Lightning Trainer.
        watch, probe, kernels: the callbacks whose measurements go into the record.
        record: the record, filled while the run proceeds.
    """

    plan: RunPlan
    task: Task
    network: Network
    seeds: Seeds
    sizes: dict[str, int]
    lags: list[int]
    learner: Learner
    trainer: pl.Trainer
    watch: Watch
    probe: ProbeGradients
    kernels: Kernels
    record: Record

    @property
    def device(self) -> torch.device:
        """The device that this process trains on."""
        device: torch.device = self.trainer.strategy.root_device
        return device


def run(plan: RunPlan) -> Record:
    """Execute one run, from its plan to its record.

    Args:
        plan: settings checked by `settings.check`, and the folder of the run, where `record.json`, `model.ckpt` and the
            pictures go. A run that was already started resumes from its last checkpoint.

    Returns:
        The record, as written to `record.json`.

    Raises:
        ValueError, FileExistsError: if the run is not possible as configured; nothing has been written then.
        BlockingIOError: if the run is locked by another process.
        Diverged, KeyboardInterrupt: if the run diverged or was interrupted. These and any other exception that ends the
            run are noted in the record.
    """
    prepared = prepare(plan)
    if is_first():
        for remark in prepared.task.provenance.get("remarks", []):  # such as oddities of a text corpus
            log.warning("%s", remark)
    if starts_processes(prepared.trainer):
        return in_processes(prepared)
    with records.claimed(plan.folder, plan.begun is not None) if is_first() else nullcontext():
        return carry_out(prepared)


def is_first() -> bool:
    """Whether this process writes the files of the run: rank 0 of a ddp run, or the only process of any other run."""
    return bool(rank_zero_only.rank == 0)


def prepare(plan: RunPlan) -> Prepared:
    """Make all objects of the run, and raise ValueError if one is impossible, before anything is written."""
    cfg = plan.cfg
    torch.set_num_threads(cfg.runtime.threads or all_threads())
    malloc.use(cfg.runtime.malloc)
    malloc.release()
    task, seeds = make_task(cfg), Seeds(cfg.seed, cfg.stream)
    sizes = sizes_to_match(cfg, task, plan.core)
    torch.manual_seed(cfg.seed)  # just before the network is made: its initial weights depend on nothing else random
    network = make_network(cfg, task, sizes, plan.core)
    lags = lags_to_test(cfg, task, network)
    training_lags = make_lag_mode(cfg, task)
    learner = Learner(network, task, make_optimizer(cfg), cfg.lr_schedule, cfg.warmup_steps, training_lags)
    watch = Watch(task.solved_at, budget.of(cfg, task.memoryless_loss))
    probe = ProbeGradients(partial(measure_gradients, network, task, seeds))
    kernels = Kernels(network.core, cfg.runtime.get("kernels", "library"))
    progress = ShowProgress(f"{plan.model} · {plan.task} · lag {cfg.lag}")
    checkpoints = Checkpoints(plan.folder, cfg.runtime.checkpoint_seconds)
    trainer = make_trainer(cfg, plan.folder, [watch, probe, progress, checkpoints, kernels])
    checked = network.check(task, lags if cfg.eval.sequences else [], trainer.strategy.root_device)
    if not checked.exact:  # the core does not run in float64, which the gradient over distance needs
        probe.measure = None
    record = new_record(plan, task)
    record["cost"]["check_seconds"] = checked.seconds
    return Prepared(plan, task, network, seeds, sizes, lags, learner, trainer, watch, probe, kernels, record)


def in_processes(prepared: Prepared) -> Record:
    """Execute the run in one process per device. Returns the record that the first of them wrote.

    If a process dies, the run has failed; this process writes that to the record, since the others may be dead too.
    """
    plan, trainer = prepared.plan, prepared.trainer
    cluster, number = trainer.strategy.cluster_environment, trainer.world_size
    shared = {"MASTER_ADDR": cluster.main_address, "MASTER_PORT": str(cluster.main_port), "WORLD_SIZE": str(number)}
    shared |= {"NODE_RANK": "0", "OMP_NUM_THREADS": str(torch.get_num_threads())}
    resolved = plan._replace(cfg=records.as_config(OmegaConf.to_container(plan.cfg, resolve=True)))
    with records.claimed(plan.folder, plan.begun is not None):
        try:
            ranks = [shared | {"LOCAL_RANK": str(rank)} for rank in range(number)]
            processes.together(ranks, run_in_claimed_folder, resolved)
        except Exception as error:
            left = begun(plan.folder) or prepared.record
            if left["status"] not in ("finished", "diverged"):
                left["status"], left["error"] = "failed", f"{type(error).__name__}: {error}"
                records.write(left, plan.folder)
            raise
    ended = records.read(plan.folder)
    if ended["status"] != "finished":
        raise KeyboardInterrupt
    return ended


def run_in_claimed_folder(plan: RunPlan) -> Record:
    """The work of one of several processes of a run; the parent process holds the lock on the folder."""
    return carry_out(prepare(plan))


def carry_out(prepared: Prepared) -> Record:
    """Fit and evaluate. The record is written even if one of them fails. Returns the record, as it was written."""
    plan, record = prepared.plan, prepared.record
    if not is_first():
        torch.manual_seed(plan.cfg.seed + rank_zero_only.rank)  # each rank draws its own dropout masks
    with (
        tracking(plan.cfg, plan.folder, record, prepared.task) as prepared.trainer.loggers,
        records.recording(record, plan.folder, is_first()),
    ):
        record["environment"] = environment(prepared.device, malloc.in_use())
        record["environment"]["processes"] = prepared.trainer.world_size
        watch_memory(prepared.device)
        fit(prepared)
        if is_first():
            evaluate(prepared)
    if is_first():
        forget(plan.folder)
    return record


def fit(prepared: Prepared) -> None:
    """Train, from the last checkpoint if there is one. The record gets all measurements, however the training ends."""
    plan, task, learner, record = prepared.plan, prepared.task, prepared.learner, prepared.record
    start = to_go_on_from(plan.folder) if plan.begun else None
    if plan.begun and not start:
        log.info("%s has no checkpoint: the run begins again at step 0", plan.folder)
    streams = Streams(task, learner.lags, prepared.seeds, plan.cfg.batch_size, plan.cfg.validation.sequences)
    try:
        if is_first() and not start:
            prepared.probe.at(step=0)
        with quietly():
            prepared.trainer.fit(learner, streams, ckpt_path=start, weights_only=True)
    finally:
        record |= outcome(prepared.watch, plan.cfg)
        record["training_lags"] = cast("list[Stage]", learner.lags.until(prepared.trainer.global_step))
        taken = cost(prepared.watch, prepared.probe, prepared.trainer, plan.cfg.batch_size)
        record["cost"] |= cast("Cost", parameters(prepared.network) | prepared.sizes | taken)
        record |= gradients(prepared.probe)
        record["environment"] |= prepared.kernels.noted()


def evaluate(prepared: Prepared) -> None:
    """Take all measurements after the training, on the best-validation weights.

    The record is written after each measurement, so that a later failure does not lose it.
    """
    folder, record = prepared.plan.folder, prepared.record
    prepared.network.to(prepared.device)
    record["best_step"] = best_step = load_weights(prepared.network, folder)
    record["artifacts"] = [artifact(folder / records.WEIGHTS)]
    prepared.probe.at(best_step)
    record |= gradients(prepared.probe)
    records.write(record, folder)
    started = time.monotonic()
    try:
        measure(prepared)
    finally:
        record["cost"]["test_seconds"] = time.monotonic() - started
    figures.draw(record, folder)
    artefacts.write(record, folder)


def measure(prepared: Prepared) -> None:
    """Measure the test at the trained lag and the lag curve, and make an example. Skipped if `eval.sequences` is 0."""
    network, task, seeds, record = prepared.network, prepared.task, prepared.seeds, prepared.record
    sequences = prepared.plan.cfg.eval.sequences
    if not sequences:
        return
    record["sequences"]["test"] = sequences
    with showing_test(len(prepared.lags)) as tell:
        test = score(network, task, seeds, sequences)
        record["test"] = cast("Test", {**test, **task.baselines, "sequences": sequences})
        records.write(record, prepared.plan.folder)

        def keep(point: LagPoint) -> None:
            record["lag_curve"].append(point)
            records.write(record, prepared.plan.folder)
            tell(point)

        over_lags(network, task, prepared.lags, seeds, sequences, keep, test)
    record["example"] = example(network, task, seeds)


def measure_gradients(network: Network, task: Task, seeds: Seeds, step: int) -> Profile:
    """The gradient over distance, on the first validation sequences."""
    return gradient_over_distance(network, task, next(fixed_batches(task, "val", seeds, SEQUENCES)), step)


def example(network: Network, task: Task, seeds: Seeds) -> dict[str, Artefact]:
    """The task's example of what the trained network predicts, made from test data."""
    device = next(network.parameters()).device
    network.eval()
    predict = lambda inputs, steps: network(inputs.to(device), steps.to(device)).cpu()  # noqa: E731
    return task.part("test").example(predict, seeds.generator("example", task.stream_lag, 0))


def load(folder: str | Path, core: Callable[..., nn.Module] | None = None) -> tuple[Network, Task, Record]:
    """The trained network with its best-validation weights, the task and the record of a run; see `longlag.load`."""
    record = records.read(folder)
    cfg = records.config_of(record)
    check(cfg)
    task = make_task(cfg)
    check_data(record, task, Path(folder))
    check_artifacts(record, Path(folder))
    network = make_network(cfg, task, sizes_to_match(cfg, task, core), core)
    load_weights(network, Path(folder))
    return network.eval(), task, record
