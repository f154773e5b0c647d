"""Error messages for results of a core that violate the contract: what it gave, what is required, and how to fix it."""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from longlag.files import first_line

ONE_TENSOR = "the outputs of a core must be one tensor (batch, time, hidden_size)"
UNROLLED = "it must return its outputs and the state (return outputs, state)"


def made(make_core: Callable[..., nn.Module], input_size: int) -> nn.Module:
    """Make the core for inputs of width `input_size`. Raises ValueError if its constructor does not take it."""
    try:
        return make_core(input_size=input_size)
    except (TypeError, ValueError) as error:
        if "unexpected keyword argument 'input_size'" not in str(error):
            raise
        raise ValueError(
            f"{first_line(error)}; the constructor of a core must take input_size, the width of the inputs, "
            "which the task decides: def __init__(self, input_size, ...)"
        ) from error


def hidden_size(core: object) -> int:
    """Return the width of a core's outputs. Raises ValueError if it is no module or has no valid `hidden_size`."""
    name = type(core).__name__
    if not isinstance(core, nn.Module):
        raise ValueError(
            f"the core {name}: it is not a torch.nn.Module; a core must be one: derive its class from torch.nn.Module"
        )
    size = getattr(core, "hidden_size", None)
    if isinstance(size, int) and not isinstance(size, bool) and size > 0:
        return size
    given = (
        "it has no hidden_size" if size is None else f"its hidden_size is {size!r}, which is not a whole number above 0"
    )
    raise ValueError(
        f"the core {name}: {given}; a core must state the width of its outputs, which the head reads: set "
        "self.hidden_size in its constructor"
    )


def outputs_problem(outputs: Any, x: Tensor, width: int) -> str | None:
    """Say why `outputs` are not valid outputs for x (batch, time, input_size); None if they are.

    width: the core's `hidden_size`.
    """
    if isinstance(outputs, tuple | list):
        return (
            f"gave a {type(outputs).__name__} of {len(outputs)}; {ONE_TENSOR}: keep the layer in a module of yours "
            "whose forward ends with return self.layer(x)[0]"
        )
    if not isinstance(outputs, Tensor):
        return f"gave {_a(outputs)}; {ONE_TENSOR}: let forward end with return outputs"
    asked = (*x.shape[:2], width)
    if outputs.shape != asked:
        what, wrap = _shape(tuple(outputs.shape), asked)
        return (
            f"gave {size(outputs.shape)} for inputs (batch, time, input_size) = {size(x.shape)}: {what}; a core must "
            f"give (batch, time, hidden_size) = {size(asked)}: {wrap}"
        )
    if outputs.dtype != x.dtype:
        return (
            f"gave {name_of(outputs.dtype)} for inputs in {name_of(x.dtype)}; a core must keep the dtype of its "
            "inputs: make tensors with x.new_zeros(...) or dtype=x.dtype, or return outputs.to(x.dtype)"
        )
    return None


def _shape(given: tuple[int, ...], asked: tuple[int, int, int]) -> tuple[str, str]:
    """Say what is wrong with a shape, and how to wrap the layer that returns it."""
    batch, time, width = asked
    if given in ((batch, width), (batch, 1, width)):
        return "one step alone", "return the outputs of all steps, torch.stack(outputs, dim=1)"
    if given[:2] == (time, batch):
        return "time comes first", "give the layer batch_first=True, or return outputs.transpose(0, 1)"
    if given == (batch, width, time):
        return "time comes last", "return outputs.transpose(1, 2)"
    if len(given) == 3 and given[:2] == (batch, time):
        return f"the width is {given[2]}", "set self.hidden_size to the width of the outputs"
    if len(given) == 3 and (given[0], given[2]) == (batch, width):
        return f"there are {given[1]} steps", "pad a convolution by (kernel_size - 1) * dilation on the left alone"
    return "another shape", "return the outputs of all steps of all sequences"


def unroll_problem(unroll: Any, x: Tensor) -> str | None:
    """Say why `unroll` cannot be called with x alone and with x and a state; None if it can."""
    if not callable(unroll):
        return f"is {_a(unroll)} and not a method; a core must use this name for a method only: rename it"
    try:
        signature = inspect.signature(unroll)
    except ValueError:  # compiled code may have no signature
        return None
    try:
        signature.bind(x)
        signature.bind(x, None)
    except TypeError as error:
        return (
            f"cannot be called as unroll(x) and as unroll(x, state) ({error}); a core must define it as "
            "def unroll(self, x, state=None), where None stands for the state that forward begins in"
        )
    return None


def unrolled_problem(given: Any, batch: int) -> str | None:
    """Say why the result of `unroll` is not a pair of outputs and a valid state; None if it is."""
    if not (isinstance(given, tuple | list) and len(given) == 2):
        what = f"a {type(given).__name__} of {len(given)}" if isinstance(given, tuple | list) else _a(given)
        return f"gave {what}; {UNROLLED}"
    state = given[1]
    parts = [state] if isinstance(state, Tensor) else state
    if not (isinstance(parts, tuple | list) and parts and all(isinstance(part, Tensor) for part in parts)):
        return f"gave {_a(state)} for the state; {UNROLLED}, where the state is one tensor or a tuple of tensors"
    return next(filter(None, (_part_problem(part, batch) for part in parts)), None)


def _part_problem(part: Tensor, batch: int) -> str | None:
    asked = "each part of it must be a tensor (layers, batch, hidden_size)"
    if part.dim() < 3 or part.shape[1] != batch:
        how = "with one layer, give h[None] and begin from state[0]"
        return f"gave a state of {size(part.shape)} for {batch} sequences; {asked}: {how}"
    if not (part.is_floating_point() or part.is_complex()):
        return f"gave a state in {name_of(part.dtype)}; {asked}, in floating point: a gradient must pass through it"
    if torch.is_grad_enabled() and not part.requires_grad:
        return f"gave a state without a gradient; {asked}, with its gradient: do not detach it"
    return None


def size(shape: tuple[int, ...] | torch.Size) -> str:
    """Format a shape as a tuple."""
    return f"({', '.join(map(str, shape))})"


def name_of(dtype: torch.dtype) -> str:
    """The name of a dtype without `torch.`."""
    return str(dtype).removeprefix("torch.")


def _a(value: object) -> str:
    return "None" if value is None else f"an object of class {type(value).__name__}"
