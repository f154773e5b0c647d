"""The words for a core that is not of the contract's shape: what it gave, what is asked for, how to wrap it."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from longlag.models.check.check import check_core
from longlag.models.network import Network
from longlag.tasks.copy import Copy

VECTORS = torch.eye(10)
WIDTH = 16


class Core(nn.Module):
    """A GRU whose forward ends in what `turn` makes of its outputs."""

    def __init__(self, input_size: int, turn: Callable[[Tensor], Any] = lambda outputs: outputs, width: int = WIDTH):
        super().__init__()
        self.hidden_size, self.turn = width, turn
        self.layer = nn.GRU(input_size, WIDTH, batch_first=True)

    def forward(self, x: Tensor) -> Any:
        return self.turn(self.layer(x)[0])


class TorchsOwn(nn.LSTM):
    """A user's first try."""

    def __init__(self, input_size: int, hidden_size: int = WIDTH):
        super().__init__(input_size, hidden_size, batch_first=True)


class Longer(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden_size, self.layer = WIDTH, nn.Conv1d(10, WIDTH, 5, padding=4)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.transpose(1, 2)).transpose(1, 2)


ASKED = r"a core must give \(batch, time, hidden_size\) = \(8, 20, 16\): "
GIVEN = r" for inputs \(batch, time, input_size\) = \(8, 20, 10\): "
ONE = r"the outputs of a core must be one tensor \(batch, time, hidden_size\): "


@pytest.mark.parametrize(
    ("core", "says"),
    [
        (TorchsOwn(10), rf"gave a tuple of 2; {ONE}keep the layer in .* return self\.layer\(x\)\[0\]"),
        (Core(10, lambda h: [h]), f"gave a list of 1; {ONE}"),
        (Core(10, lambda h: {"outputs": h}), f"gave an object of class dict; {ONE}let forward end with return outputs"),
        (Core(10, lambda h: h.detach().numpy()), "gave an object of class ndarray; "),
        (Core(10, lambda h: None), "gave None; "),
        (
            Core(10, lambda h: h.transpose(0, 1)),
            rf"gave \(20, 8, 16\){GIVEN}time comes first; {ASKED}.*batch_first=True",
        ),
        (
            Core(10, lambda h: h.transpose(1, 2)),
            rf"gave \(8, 16, 20\){GIVEN}time comes last; {ASKED}.*transpose\(1, 2\)",
        ),
        (Core(10, lambda h: h[:, -1]), rf"gave \(8, 16\){GIVEN}one step alone; {ASKED}.*torch\.stack"),
        (Core(10, lambda h: h[:, -1:]), rf"gave \(8, 1, 16\){GIVEN}one step alone; {ASKED}"),
        (Core(10, lambda h: h[..., :9]), rf"gave \(8, 20, 9\){GIVEN}the width is 9; {ASKED}set self\.hidden_size"),
        (Core(10, width=17), r"gave \(8, 20, 16\).*the width is 16; .* = \(8, 20, 17\): set self\.hidden_size"),
        (Longer(), rf"gave \(8, 24, 16\){GIVEN}there are 24 steps; {ASKED}pad .* on the left alone"),
        (Core(10, lambda h: h.sum()), rf"gave \(\){GIVEN}another shape; {ASKED}"),
        (Core(10, lambda h: h.float()), r"gave float32 for inputs in float64; .* x\.new_zeros"),
    ],
)
def test_outputs(core: nn.Module, says: str):
    with pytest.raises(ValueError, match=f"^the core {type(core).__name__}: forward {says}") as refused:
        check_core(core, VECTORS, 20)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("width", [8, 10, 20])
def test_outputs_whose_width_is_the_number_of_steps_or_of_sequences(width: int):
    core = nn.Sequential(nn.Linear(10, width))
    core.hidden_size = width
    assert check_core(core, VECTORS, 20)
    core.append(nn.Flatten(1))
    with pytest.raises(ValueError, match="another shape"):
        check_core(core, VECTORS, 20)


class Unrolls(nn.Module):
    """An LSTM whose `unroll` has another state, or gives something else."""

    def __init__(self, unroll: Any = None):
        super().__init__()
        self.hidden_size, self.layer = WIDTH, nn.LSTM(10, WIDTH, batch_first=True)
        if unroll is not None:
            self.unroll = unroll

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)[0]


class Whole(Unrolls):
    def unroll(self, x: Tensor, state: Any = None) -> Any:
        return self.layer(x, state)


class StateInOneTensor(Unrolls):
    def unroll(self, x: Tensor, state: Any = None) -> Any:
        outputs, parts = self.layer(
            x, None if state is None else tuple(part.contiguous() for part in state.chunk(2, -1))
        )
        return outputs, torch.cat(parts, -1)


class StateOfTwoLayers(Unrolls):
    def __init__(self):
        super().__init__()
        self.layer = nn.LSTM(10, WIDTH, 2, batch_first=True, dropout=0.5)

    def unroll(self, x: Tensor, state: Any = None) -> Any:
        return self.layer(x, state)


@pytest.mark.parametrize("core", [Unrolls, Whole, StateInOneTensor, StateOfTwoLayers])
@pytest.mark.parametrize("longest", [1, 2, 300])
def test_unroll_passes(core: type[Unrolls], longest: int):
    torch.manual_seed(0)
    assert check_core(core(), VECTORS, longest)


class NeedsAState(Unrolls):
    def unroll(self, x: Tensor, state: Any) -> Any:
        return self.layer(x, state)


class TakesNoState(Unrolls):
    def unroll(self, x: Tensor) -> Any:
        return self.layer(x)


class CannotBegin(Unrolls):
    def unroll(self, x: Tensor, state: Any = None) -> Any:
        return self.layer(x, (state[0], state[1]))


class OutputsAlone(Unrolls):
    def unroll(self, x: Tensor, state: Any = None) -> Any:
        return self.layer(x, state)[0]


class AllApart(Unrolls):
    def unroll(self, x: Tensor, state: Any = None) -> Any:
        outputs, (h, C) = self.layer(x, state)
        return outputs, h, C


class NamedState(Unrolls):
    def unroll(self, x: Tensor, state: Any = None) -> Any:
        outputs, (h, C) = self.layer(x, state)
        return outputs, {"h": h, "C": C}


class WithoutLayers(Unrolls):
    def unroll(self, x: Tensor, state: Any = None) -> Any:
        outputs, (h, C) = self.layer(x, state and (state[0][None], state[1][None]))
        return outputs, (h[0], C[0])


class BatchFirst(Unrolls):
    def unroll(self, x: Tensor, state: Any = None) -> Any:
        turned = state and tuple(part.transpose(0, 1).contiguous() for part in state)
        outputs, parts = self.layer(x, turned)
        return outputs, tuple(part.transpose(0, 1) for part in parts)


class Counts(Unrolls):
    def unroll(self, x: Tensor, state: Any = None) -> Any:
        outputs, (h, C) = self.layer(x, state and state[:2])
        return outputs, (h, C, torch.full((1, len(x), 1), x.shape[1]))


class CutOff(Unrolls):
    def unroll(self, x: Tensor, state: Any = None) -> Any:
        outputs, (h, C) = self.layer(x, state)
        return outputs, (h.detach(), C.detach())


class LastStepAlone(Unrolls):
    def unroll(self, x: Tensor, state: Any = None) -> Any:
        outputs, state = self.layer(x, state)
        return outputs[:, -1], state


PART = r"each part of it must be a tensor \(layers, batch, hidden_size\)"


@pytest.mark.parametrize(
    ("core", "says"),
    [
        (NeedsAState, r"cannot be called as .*missing a required argument: 'state'.*def unroll\(self, x, state=None\)"),
        (TakesNoState, r"cannot be called as .*too many positional arguments.*def unroll\(self, x, state=None\)"),
        (CannotBegin, r"raised TypeError: 'NoneType' object is not subscriptable, in training mode"),
        (OutputsAlone, "gave an object of class Tensor; it must return its outputs and the state"),
        (AllApart, r"gave a tuple of 3; it must return its outputs and the state \(return outputs, state\)"),
        (NamedState, "gave an object of class dict for the state; .* one tensor or a tuple of tensors"),
        (WithoutLayers, rf"gave a state of \(8, 16\) for 8 sequences; {PART}: with one layer, give h\[None\]"),
        (BatchFirst, rf"gave a state of \(8, 1, 16\) for 8 sequences; {PART}"),
        (Counts, f"gave a state in int64; {PART}"),
        (CutOff, f"gave a state without a gradient; {PART}"),
        (LastStepAlone, r"gave \(8, 16\) .* one step alone; "),
        (lambda: Unrolls(unroll=4), "is an object of class int and not a method; "),
    ],
)
def test_unroll(core: Callable[[], nn.Module], says: str):
    torch.manual_seed(0)
    with pytest.raises(ValueError, match=rf"^the core \w+: unroll {says}") as refused:
        check_core(core(), VECTORS, 20)
    assert "\n" not in str(refused.value)


class AnotherFunction(Unrolls):
    def unroll(self, x: Tensor, state: Any = None) -> Any:
        outputs, state = self.layer(x, state)
        return 1.001 * outputs, state


class AnotherInEvaluation(AnotherFunction):
    def unroll(self, x: Tensor, state: Any = None) -> Any:
        return self.layer(x, state) if self.training else super().unroll(x, state)


class ForgetsItsCell(Unrolls):
    def unroll(self, x: Tensor, state: Any = None) -> Any:
        outputs, (h, _) = self.layer(x, None if state is None else (state, torch.zeros_like(state)))
        return outputs, h


class OfTheFirstSequence(Unrolls):
    def unroll(self, x: Tensor, state: Any = None) -> Any:
        return self.layer(x, state and tuple(part[:, :1].expand_as(part).contiguous() for part in state))


class Truncates(Unrolls):
    """The state has a gradient, which ends where the next piece begins."""

    def unroll(self, x: Tensor, state: Any = None) -> Any:
        return self.layer(x, state and tuple(part.detach() for part in state))


class NotANumber(Unrolls):
    def unroll(self, x: Tensor, state: Any = None) -> Any:
        outputs, state = self.layer(x, state)
        return outputs * torch.nan, state


class WritesOver(Unrolls):
    """What the backward pass needs."""

    def unroll(self, x: Tensor, state: Any = None) -> Any:
        outputs, state = self.layer(x, state)
        return outputs.sigmoid().mul_(2), state

    def forward(self, x: Tensor) -> Tensor:
        return self.unroll(x)[0]


class Unsteady(Unrolls):
    """The slope of a root at 0."""

    def unroll(self, x: Tensor, state: Any = None) -> Any:
        outputs, state = self.layer(x, state)
        return outputs + (0 * outputs).sqrt(), state

    def forward(self, x: Tensor) -> Tensor:
        return self.unroll(x)[0]


@pytest.mark.parametrize(
    ("core", "says"),
    [
        (WritesOver, "its outputs cannot be differentiated: RuntimeError: one of the variables needed for gradient"),
        (Unsteady, r"the gradient of its outputs by \d+ steps of its inputs is NaN or infinite"),
        (
            AnotherFunction,
            r"forward and unroll give different outputs, in training mode .*return self\.unroll\(x\)\[0\]",
        ),
        (AnotherInEvaluation, "forward and unroll give different outputs, in evaluation mode"),
        (ForgetsItsCell, "unroll over pieces, each .* gives different outputs than over the whole, in training mode"),
        (
            OfTheFirstSequence,
            "unroll over pieces, each .* gives different outputs than over the whole, in training mode",
        ),
        (Truncates, "the gradient through unroll over pieces differs from that through forward .*: do not detach"),
        (NotANumber, "unroll gave NaN or infinity"),
    ],
)
@pytest.mark.parametrize("longest", [8, 300])
def test_unroll_is_another_function(core: type[Unrolls], says: str, longest: int):
    torch.manual_seed(0)
    with pytest.raises(ValueError, match=f"^the core {core.__name__}: {says}"):
        check_core(core(), VECTORS, longest)


# Before there is a core to call.


class NoInputSize(nn.Module):
    def __init__(self, hidden_size: int = 8):
        super().__init__()
        self.hidden_size = hidden_size


class NoWidth(nn.Module):
    def __init__(self, input_size: int, **published: Any):
        super().__init__()
        for name, value in published.items():
            setattr(self, name, value)


def no_module(input_size: int) -> Any:
    return lambda x: x


def refuses(input_size: int) -> Any:
    raise ValueError("model.hidden_size=7 is not divisible by model.num_heads=4")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (
            NoInputSize,
            r"input_size.*; the constructor of a core must take input_size.*def __init__\(self, input_size, \.\.\.\)",
        ),
        (NoWidth, "the core NoWidth: it has no hidden_size; .* set self.hidden_size in its constructor"),
        (
            lambda input_size: NoWidth(input_size, hidden_size=8.0),
            "its hidden_size is 8.0, which is not a whole number above 0",
        ),
        (
            lambda input_size: NoWidth(input_size, hidden_size="8"),
            "its hidden_size is '8', which is not a whole number above 0",
        ),
        (
            lambda input_size: NoWidth(input_size, hidden_size=0),
            "its hidden_size is 0, which is not a whole number above 0",
        ),
        (
            lambda input_size: NoWidth(input_size, hidden_size=True),
            "its hidden_size is True, which is not a whole number above 0",
        ),
        (no_module, "the core function: it is not a torch.nn.Module"),
        (refuses, "^model.hidden_size=7 is not divisible by model.num_heads=4$"),
    ],
)
def test_making(make: Callable[..., nn.Module], says: str):
    with pytest.raises(ValueError, match=says):
        Network(Copy(5), make)
