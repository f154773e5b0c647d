"""The LightningModule: one step, what is logged, the optimiser."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric

from longlag.lag_modes import Fixed
from longlag.models.network import Network
from longlag.tasks.task import Batch, Task
from longlag.training import processes


class Diverged(FloatingPointError):
    """The loss is no longer a finite number."""


class Learner(pl.LightningModule):
    """Trains a network on a task.

    Logged: `train/*`, means over `log_every_n_steps` steps, with `train/gradient_norm` before clipping and
    `train/lr` and `train/lag`; `val/*`, means over the fixed validation sequences.

    Args:
        network: read-in, core, read-out.
        task: scores what the network produces.
        make_optimizer: given the parameters, makes the optimiser.
        schedule: `constant` or `cosine`.
        warmup_steps: steps over which the learning rate rises.
        lags: hears the training accuracy, and may make the training sequences longer.

    Raises:
        Diverged: while training, when the loss is no longer finite.
    """

    def __init__(
        self,
        network: Network,
        task: Task,
        make_optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer],
        schedule: str = "constant",
        warmup_steps: int = 0,
        lags: Fixed | None = None,
    ):
        super().__init__()
        self.network, self.task, self.make_optimizer = network, task, make_optimizer
        self.schedule, self.warmup_steps = schedule, warmup_steps
        self.lags = lags or Fixed(task)
        self.validation = nn.ModuleDict({name: MeanMetric(nan_strategy="disable") for name in task.measures})
        self.rate = 0.0  # of the last step
        self.recent: list[dict[str, Tensor]] = []  # a step each, since the last logging

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """Mean loss over the scored steps."""
        measures = self.task.measure(self.network(batch.inputs, batch.steps), batch)
        means = {name: values.mean() for name, values in measures.items()}
        self.recent.append({name: mean.detach() for name, mean in means.items()})
        return means["loss"]

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the norm of the whole gradient, and keep what it was."""
        norm = nn.utils.clip_grad_norm_(self.parameters(), gradient_clip_val or math.inf)
        self.recent[-1]["gradient_norm"] = norm
        self.rate = optimizer.param_groups[0]["lr"]

    def on_train_batch_end(self, *_: Any) -> None:
        """Log every `log_every_n_steps` steps: a call of `self.log` costs as much as a short step."""
        if self.global_step % self.trainer.log_every_n_steps:
            return
        means = {
            name: torch.stack([step[name].to(self.device) for step in self.recent]).mean() for name in self.recent[0]
        }
        means = {name: self.trainer.strategy.reduce(mean, reduce_op="mean") for name, mean in means.items()}
        self.recent.clear()
        self._check_finite(means["loss"], "training")
        self._log("train", {**means, "lr": torch.tensor(self.rate), "lag": torch.tensor(float(self.lags.lag))})
        self.lags.heed(self.global_step, means["accuracy"].item())

    def validation_step(self, batch: Batch, _: int) -> None:
        """Add a batch to the means."""
        measures = self.task.measure(self.network(batch.inputs, batch.steps), batch)
        for name, values in measures.items():
            self.validation[name].update(values)  # type: ignore[operator]

    def on_validation_epoch_end(self) -> None:
        """Log the means, over all devices."""
        means: dict[str, Tensor] = {}
        for name, metric in self.validation.items():
            means[name] = metric.compute()  # type: ignore[operator]
            metric.reset()  # type: ignore[operator]
        self._check_finite(means["loss"], "validation")
        derived = self.task.derived({name: mean.item() for name, mean in means.items()})
        more = {name: torch.tensor(value) for name, value in {**derived, "chance": self.task.chance}.items()}
        self._log("val", means | more)

    def _check_finite(self, loss: Tensor, where: str) -> None:
        if not torch.isfinite(loss):
            raise Diverged(f"the {where} loss is {loss.item()} by step {self.global_step}; try a smaller lr")

    def _log(self, prefix: str, means: dict[str, Tensor]) -> None:
        named = {f"{prefix}/{name}": mean for name, mean in means.items()}
        self.log_dict({**named, "step": float(self.global_step)})  # Lightning's name for the x axis

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """How far the training lag has grown is part of the state, and so is what has not been logged yet."""
        recent = [{name: value.cpu() for name, value in step.items()} for step in self.recent]
        checkpoint |= {"lags": self.lags.state_dict(), "recent": processes.gathered(recent)}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on at that lag."""
        self.lags.load_state_dict(checkpoint["lags"])
        self.recent = processes.own(checkpoint["recent"], self.global_rank)

    def configure_optimizers(self) -> Any:
        """The optimiser and its schedule, a step at a time."""
        optimizer = self.make_optimizer(self.network.parameters())
        steps = self.trainer.max_steps
        factor = lambda step: rate_factor(step, steps, self.schedule, self.warmup_steps)  # noqa: E731
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def rate_factor(step: int, steps: int, schedule: str, warmup_steps: int) -> float:
    """What the learning rate is multiplied by at `step` of `steps`: a linear rise, then constant or half a cosine."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    if schedule == "constant":
        return 1.0
    done = (step - warmup_steps) / max(1, steps - warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
