"""A core under test: each pass over sequences runs on a fresh copy that starts in the same random state."""

import copy
import logging
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from itertools import pairwise
from typing import Any, Self, TypeVar

import torch
from pytorch_lightning.utilities.seed import isolate_rng
from torch import Tensor, nn

from longlag.files import first_line
from longlag.models.check import shapes
from longlag.models.check.copies import CPU, without_dropout, without_small_weights

log = logging.getLogger(__name__)

T = TypeVar("T")


class Trial:
    """A core under test in one dtype on one device, in training mode with gradient or in evaluation mode without.

    The core itself and all random states are left unchanged.

    Args:
        core: the core, with `hidden_size`.
        device: device of the copies.
        dtype: dtype of the copies.

    Attributes:
        training: whether the copies run in training mode.
        tolerance: relative tolerance, half of the digits of the dtype (square root of its epsilon).

    Raises:
        ValueError: if the core cannot be copied, a pass fails or its result violates the contract; the message is one
            line and names the core.
    """

    def __init__(self, core: nn.Module, device: torch.device, dtype: torch.dtype):
        self.name, self.device, self.dtype = type(core).__name__, device, dtype
        self.width = shapes.hidden_size(core)
        self.tolerance = torch.finfo(dtype).eps ** 0.5
        self.training = True
        try:
            self.core = without_dropout(core, device, dtype)
        except Exception as error:  # the parts of a core may raise anything when they are copied
            raise self.error(
                f"it cannot be copied ({_said(error)}), but it is checked and measured on copies; keep nothing in the "
                "module that copy.deepcopy cannot copy"
            ) from error

    @property
    def mode(self) -> str:
        """The mode in words, for messages."""
        return f"in {'training' if self.training else 'evaluation'} mode"

    @property
    def exact(self) -> bool:
        """Whether the copies are in float64."""
        return self.dtype == torch.float64

    @property
    def recurrent(self) -> bool:
        """Whether the core has `unroll`."""
        return getattr(self.core, "unroll", None) is not None

    def in_mode(self, training: bool) -> Self:
        """Return the same trial in training or evaluation mode."""
        other = copy.copy(self)
        other.training = training
        return other

    def without_small_weights(self, rng: torch.Generator) -> Self:
        """Return a trial of a copy whose weights at or near zero are replaced by small random numbers."""
        other = copy.copy(self)
        other.core = without_small_weights(self.core, rng)
        return other

    def cast(self, vectors: Tensor) -> Tensor:
        """Convert inputs to the device and dtype of the copies."""
        return vectors.detach().to(self.device, self.dtype)

    def fails(self, x: Tensor) -> Exception | None:
        """Return the exception that the core raises for x, whatever its outputs are; None if it raises none."""
        try:
            self._on_copy(lambda core: core(self.cast(x)))
        except Exception as error:  # whatever a core may raise
            return error
        return None

    def outputs(self, x: Tensor) -> Tensor:
        """The outputs of `forward`, (batch, time, hidden_size), for x (batch, time, input_size)."""
        return self._on_copy(lambda core: self._forward(core, x)).detach()

    def twice(self, x: Tensor, alike: bool = False) -> tuple[Tensor, Tensor]:
        """The outputs of the first and second call of one copy; with `alike` both calls get the same random numbers."""

        def call(core: nn.Module) -> tuple[Tensor, Tensor]:
            with self._same_random_state() if alike else nullcontext():
                first = self._forward(core, x).detach()
            self._check_that_it_copies(core)
            return first, self._forward(core, x).detach()

        return self._on_copy(call)

    def unrolled(self, x: Tensor) -> Tensor:
        """The outputs of `unroll` without an initial state."""
        self._refuse("unroll", shapes.unroll_problem(self.core.unroll, x))
        return self._on_copy(lambda core: self._unroll(core, x)[0]).detach()

    def in_pieces(self, x: Tensor, cuts: Sequence[int]) -> Tensor:
        """The outputs of `unroll`, called for each piece from one cut to the next with the state of the last piece."""
        return self._on_copy(lambda core: self._pieces(core, x, cuts)).detach()

    def gradients(self, x: Tensor, cuts: Sequence[int]) -> tuple[Tensor, Tensor]:
        """dL/dx, (batch, time, input_size), through `forward` and through `unroll` in pieces.

        L is a randomly weighted sum of the outputs.
        """
        return self._gradient(x, self._forward), self._gradient(x, lambda core, x: self._pieces(core, x, cuts))

    def error(self, problem: str) -> ValueError:
        """Return an error that names the core."""
        return ValueError(f"the core {self.name}: {problem}")

    def _refuse(self, method: str, problem: str | None) -> None:
        if problem:
            raise self.error(f"{method} {problem}")

    def _same_random_state(self) -> Any:
        return isolate_rng(include_cuda=self.device.type == "cuda")

    def _on_copy(self, function: Callable[[nn.Module], T]) -> T:
        with self._same_random_state(), torch.set_grad_enabled(self.training):
            try:
                return function(copy.deepcopy(self.core).train(self.training))
            except Exception as error:  # kept and raised outside: `isolate_rng` restores nothing if one passes through
                failed = error
        raise failed

    def _forward(self, core: nn.Module, x: Tensor) -> Tensor:
        return self._checked("forward", self._called("forward", core, x), x)

    def _unroll(self, core: Any, x: Tensor, *state: Any) -> tuple[Tensor, Any]:
        given = self._called("unroll", core.unroll, x, *state)
        self._refuse("unroll", shapes.unrolled_problem(given, len(x)))
        return self._checked("unroll", given[0], x), given[1]

    def _pieces(self, core: Any, x: Tensor, cuts: Sequence[int]) -> Tensor:
        state, outputs = None, []
        for first, last in pairwise(cuts):
            piece, state = self._unroll(core, x[:, first:last], state)
            outputs.append(piece)
        return torch.cat(outputs, dim=1)

    def _called(self, method: str, function: Callable[..., Any], x: Tensor, *state: Any) -> Any:
        x = x if x.requires_grad else x.clone().requires_grad_(self.training)
        try:
            return function(x, *state)
        except Exception as error:  # whatever a core may raise
            raise self.error(
                f"{method} raised {_said(error)}, {self.mode}, for inputs (batch, time, input_size) = "
                f"{shapes.size(x.shape)}; a core must take any number of sequences and of steps (lag and "
                "eval.lags say how many steps are used); HYDRA_FULL_ERROR=1 shows the traceback"
            ) from error

    def _checked(self, method: str, outputs: Any, x: Tensor) -> Tensor:
        """Return the outputs if they are valid, as a copy: a core may overwrite them in its next call."""
        self._refuse(method, shapes.outputs_problem(outputs, x, self.width))
        if not outputs.isfinite().all():
            raise self.error(f"{method} gave NaN or infinity, {self.mode}, for {x.shape[1]} steps of the task's inputs")
        if self.training and not outputs.requires_grad:
            raise self.error(f"{method} gave outputs without a gradient; do not detach them, nor use torch.no_grad")
        return outputs.clone()

    def _check_that_it_copies(self, core: nn.Module) -> None:
        """Check that the core can be copied after a call, since the gradient is measured on a copy during training."""
        try:
            copy.deepcopy(core)
        except Exception as error:  # the parts of a core may raise anything when they are copied
            raise self.error(
                f"it cannot be copied after a call ({_said(error)}), but its gradient is measured on copies; detach "
                "the tensors that it keeps"
            ) from error

    def _gradient(self, x: Tensor, function: Callable[[nn.Module, Tensor], Tensor]) -> Tensor:
        leaf = x.clone().requires_grad_()
        outputs = self._on_copy(lambda core: function(core, leaf))
        weights = torch.randn(outputs.shape[1:], generator=torch.Generator().manual_seed(0)).to(outputs)
        try:
            (gradient,) = torch.autograd.grad((weights * outputs).sum(), leaf, materialize_grads=True)
        except Exception as error:  # whatever a backward pass may raise
            raise self.error(f"its outputs cannot be differentiated: {_said(error)}") from error
        if not gradient.isfinite().all():
            raise self.error(f"the gradient of its outputs by {x.shape[1]} steps of its inputs is NaN or infinite")
        return gradient


def able(core: nn.Module, x: Tensor, device: torch.device = CPU) -> Trial:
    """Return a trial in float64 on the CPU, or else in float32 on the CPU, or else in float32 on `device`.

    A warning is logged if the core does not run in float64 on the CPU.

    Args:
        core: the core, with `hidden_size`.
        x: (batch, time, input_size) the inputs to try.
        device: the device to try last.

    Raises:
        ValueError: if the core runs in none of the three ways.
    """
    first: Exception | None = None
    for where, dtype in ((CPU, torch.float64), (CPU, torch.float32), (device, torch.float32)):
        trial = Trial(core, where, dtype)
        error = trial.fails(x)
        if error is None:
            break
        first = first or error
    else:
        trial.outputs(trial.cast(x))  # raises an error with an explanation
    if first:
        log.warning(
            "the core %s does not run in float64 on the CPU (%s): it is checked in float32 on %s, with a relative "
            "tolerance of %.0e, and the gradient over distance is not measured",
            *(trial.name, _said(first), trial.device.type, trial.tolerance),
        )
    return trial


def _said(error: BaseException) -> str:
    """An error's class and message in one line."""
    return f"{type(error).__name__}: {first_line(error)}"
