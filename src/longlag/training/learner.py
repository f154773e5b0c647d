"""The LightningModule: training and validation steps, logging, optimiser and learning-rate schedule."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric

from longlag.lag_modes import Fixed, LagMode
from longlag.models.network import Network
from longlag.tasks.task import Batch, Task
from longlag.training import processes


class Diverged(FloatingPointError):
    """The loss is no longer a finite number."""


class Learner(pl.LightningModule):
    """Trains a network on a task.

    It logs `train/*`, means over `log_every_n_steps` steps, together with `train/gradient_norm` (before clipping),
    `train/lr` and `train/lag`; and `val/*`, means over the fixed validation sequences.

    Args:
        network: encoder, core and head.
        task: computes the loss and the other measures from the outputs of the network.
        make_optimizer: makes the optimiser for given parameters.
        schedule: learning-rate schedule, `constant` or `cosine`.
        warmup_steps: steps over which the learning rate rises linearly.
        lags: the lag mode, which is told the training accuracy; a curriculum then increases the lag. None: fixed lag.

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
        lags: LagMode | None = None,
    ):
        super().__init__()
        self.network, self.task, self.make_optimizer = network, task, make_optimizer
        self.schedule, self.warmup_steps = schedule, warmup_steps
        self.lags = lags or Fixed(task)
        self.validation = nn.ModuleDict({name: MeanMetric(nan_strategy="disable") for name in task.measures})
        self.rate = 0.0  # learning rate of the last step
        self.recent: list[dict[str, Tensor]] = []  # the measures of each step since metrics were last logged

    def __setattr__(self, name: str, value: Any) -> None:
        """As in any module, but without its search for the name of the hook, which Lightning sets 40 times a step."""
        if name == "_current_fx_name":
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """The mean loss over the batch and its scored steps."""
        measures = self.task.measure(self.network(batch.inputs, batch.steps), batch)
        loss = measures["loss"].mean()
        means = {name: values.detach().mean() for name, values in measures.items() if name != "loss"}
        self.recent.append({"loss": loss.detach(), **means})  # .item() would wait for the GPU
        return loss

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the 2-norm of the gradient over all parameters, and keep the norm before clipping for the log."""
        norm = nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], gradient_clip_val or math.inf)
        self.recent[-1]["gradient_norm"] = norm
        self.rate = optimizer.param_groups[0]["lr"]

    def on_train_batch_end(self, *_: Any) -> None:
        """Log means over `log_every_n_steps` steps."""
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
        """Add the measures of a validation batch to the running means."""
        measures = self.task.measure(self.network(batch.inputs, batch.steps), batch)
        for name, values in measures.items():
            self.validation[name].update(values)  # type: ignore[operator]

    def on_validation_epoch_end(self) -> None:
        """Log the means over all validation sequences and all devices."""
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
        """Give the means to the loggers and callbacks; `self.log_dict` does the same in the time of a short step."""
        named = {f"{prefix}/{name}": mean for name, mean in means.items()}
        self.trainer.callback_metrics.update(named)
        numbers = {name: mean.item() for name, mean in named.items()}
        for logger in self.trainer.loggers:
            logger.log_metrics(numbers, self.global_step)
            logger.save()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the state of the training lags, and the measures that are not logged yet, those of each rank."""
        recent = [{name: value.cpu() for name, value in step.items()} for step in self.recent]
        checkpoint |= {"lags": self.lags.state_dict(), "recent": processes.gathered(recent)}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the training lags and the measures that were not logged yet."""
        self.lags.load_state_dict(checkpoint["lags"])
        self.recent = processes.own(checkpoint["recent"], self.global_rank)

    def configure_optimizers(self) -> Any:
        """The optimiser and its learning-rate schedule, which advances once per step."""
        optimizer = self.make_optimizer(self.network.parameters())
        steps = self.trainer.max_steps
        factor = lambda step: rate_factor(step, steps, self.schedule, self.warmup_steps)  # noqa: E731
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def rate_factor(step: int, steps: int, schedule: str, warmup_steps: int) -> float:
    """The factor on the learning rate at `step` of `steps`: linear warm-up, then constant or cosine decay.

    The cosine decay is (1 + cos(π p)) / 2, where p is the fraction done of the steps after the warm-up; it ends at 0.
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    if schedule == "constant":
        return 1.0
    done = (step - warmup_steps) / max(1, steps - warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
