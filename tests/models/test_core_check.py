"""The check of a core: what must pass it, what must not, and that it leaves no trace."""

import random
import threading

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from longlag.models.check.check import STEPS, check_core
from longlag.models.check.copies import without_dropout
from longlag.models.lstm import LSTM
from longlag.models.transformer import Transformer

VECTORS = torch.eye(10)  # ten symbols
WIDTH = 16
LONGEST = 601


class Causal(nn.Module):
    """A GRU; what is below changes something about it."""

    def __init__(self, input_size: int):
        super().__init__()
        self.hidden_size = WIDTH
        self.layer = nn.GRU(input_size, WIDTH, batch_first=True)

    def causal(self, x: Tensor) -> Tensor:
        return self.layer(x)[0]

    def forward(self, x: Tensor) -> Tensor:
        return self.causal(x)


class Attention(nn.Module):
    masked = True

    def __init__(self, input_size: int):
        super().__init__()
        self.hidden_size = WIDTH
        self.q, self.k, self.v = (nn.Linear(input_size, WIDTH) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(self.q(x), self.k(x), self.v(x), is_causal=self.masked)


class Fourier(nn.Module):
    """A long convolution by Fourier transform; without room for all its lags it runs round in a circle."""

    room = 2

    def __init__(self, input_size: int):
        super().__init__()
        self.hidden_size = WIDTH
        self.read, self.decay = nn.Linear(input_size, WIDTH), nn.Parameter(torch.linspace(0, 5, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        n = self.room * x.shape[1]
        kernel = self.decay.sigmoid() ** torch.arange(x.shape[1], dtype=x.dtype)[:, None]
        product = torch.fft.rfft(self.read(x), n=n, dim=1) * torch.fft.rfft(kernel, n=n, dim=0)
        return torch.fft.irfft(product, n=n, dim=1)[:, : x.shape[1]]


class Convolution(nn.Module):
    padding = (4, 0)

    def __init__(self, input_size: int):
        super().__init__()
        self.hidden_size, self.layer = WIDTH, nn.Conv1d(input_size, WIDTH, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(F.pad(x.transpose(1, 2), self.padding)).transpose(1, 2)


class Plain(nn.Module):
    """h_t = f(W x_t + U h_{t-1})."""

    width, gain = 32, 0.5

    def __init__(self, input_size: int):
        super().__init__()
        self.hidden_size, self.read = self.width, nn.Linear(input_size, self.width)
        self.U = nn.Parameter(self.gain * torch.randn(self.width, self.width) / self.width**0.5)

    def step(self, sum: Tensor) -> Tensor:
        return sum.tanh()

    def forward(self, x: Tensor) -> Tensor:
        return self.unroll(x)[0]

    def unroll(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        h = x.new_zeros(len(x), self.width) if state is None else state[0]
        outputs = []
        for read in self.read(x).unbind(1):
            h = self.step(read + h @ self.U.T)
            outputs.append(h)
        return torch.stack(outputs, 1), h[None]


# What must pass.


class Chaotic(Plain):
    gain = 20.0


class IdentityLinear(Plain):
    def __init__(self, input_size: int):
        super().__init__(input_size)
        nn.init.eye_(self.U)

    def step(self, sum: Tensor) -> Tensor:
        return sum


class Frozen(Plain):
    def __init__(self, input_size: int):
        super().__init__(input_size)
        self.requires_grad_(False)


class Complex(nn.Module):
    """A diagonal linear recurrence of complex numbers."""

    def __init__(self, input_size: int):
        super().__init__()
        self.hidden_size, self.write = WIDTH, nn.Linear(WIDTH, WIDTH)
        self.read = nn.Parameter(torch.randn(WIDTH, input_size, dtype=torch.complex64))
        self.turn = nn.Parameter(torch.polar(torch.linspace(0.1, 0.99, WIDTH), torch.linspace(0, 3, WIDTH)))

    def forward(self, x: Tensor) -> Tensor:
        return self.unroll(x)[0]

    def unroll(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        read = x.to(self.read.dtype) @ self.read.T
        h = read.new_zeros(len(x), WIDTH) if state is None else state[0]
        outputs = []
        for step in read.unbind(1):
            h = self.turn * h + step
            outputs.append(h)
        return self.write(torch.stack(outputs, 1).real), h[None]


class Average(nn.Module):
    """Of a weight that must stay between 0 and 1."""

    def __init__(self, input_size: int):
        super().__init__()
        self.hidden_size, self.read = WIDTH, nn.Linear(input_size, WIDTH)
        self.a = nn.Parameter(torch.linspace(1e-5, 0.9999, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        h, outputs = torch.zeros_like(x[:, 0, :1]), []
        for read in self.read(x).unbind(1):
            h = self.a * h + (1 - self.a**2).sqrt() * read + self.a.log()
            outputs.append(h)
        return torch.stack(outputs, 1)


class TorchsTransformer(nn.Module):
    """With dropout in attention, which is no module."""

    def __init__(self, input_size: int):
        super().__init__()
        self.hidden_size, self.read = WIDTH, nn.Linear(input_size, WIDTH)
        layer = nn.TransformerEncoderLayer(WIDTH, 2, 32, dropout=0.1, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 2)

    def forward(self, x: Tensor) -> Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1], dtype=x.dtype)
        return self.layers(self.read(x), mask=mask, is_causal=True)


class FunctionalDropout(Causal):
    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(self.causal(x), 0.5, self.training)


class Noise(Causal):
    """In both modes, and other numbers in `unroll` than in `forward`."""

    def forward(self, x: Tensor) -> Tensor:
        return self.causal(x) + torch.randn(x.shape[0], x.shape[1], WIDTH, dtype=x.dtype)

    def unroll(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        outputs, state = self.layer(x, state)
        return outputs + torch.randn(x.shape[1], x.shape[0], WIDTH, dtype=x.dtype).transpose(0, 1), state


class OthersNoise(Causal):
    def forward(self, x: Tensor) -> Tensor:
        return self.causal(x) + np.random.standard_normal() * random.random()  # noqa: NPY002


class OwnGenerator(Causal):
    def __init__(self, input_size: int):
        super().__init__(input_size)
        self.rng = torch.Generator().manual_seed(1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.causal(x)
        return h + torch.randn(h.shape, generator=self.rng, dtype=h.dtype) if self.training else h


class CountsSteps(Causal):
    """As one does whose noise fades while it is trained."""

    def __init__(self, input_size: int):
        super().__init__(input_size)
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def forward(self, x: Tensor) -> Tensor:
        self.steps += self.training
        return self.causal(x) * (1 + self.training / (1 + self.steps))


class Normed(Causal):
    def __init__(self, input_size: int):
        super().__init__(input_size)
        make = torch.nn.utils.parametrizations
        self.rest = nn.Sequential(make.weight_norm(nn.Linear(WIDTH, WIDTH)), make.orthogonal(nn.Linear(WIDTH, WIDTH)))

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(self.rest(self.causal(x)), (WIDTH,))


class Nought(nn.Module):
    def __init__(self, input_size: int):
        super().__init__()
        self.hidden_size = WIDTH

    def forward(self, x: Tensor) -> Tensor:
        return 0 * x[..., :1].expand(-1, -1, WIDTH)


@pytest.mark.parametrize(
    "core",
    [
        *(Causal, Attention, Fourier, Convolution, Plain, Chaotic, IdentityLinear, Frozen, Complex, Average),
        *(TorchsTransformer, FunctionalDropout, Noise, OthersNoise, OwnGenerator, CountsSteps, Normed, Nought),
    ],
)
@pytest.mark.parametrize("longest", [1, 2, 8, LONGEST])
def test_passes(core: type[nn.Module], longest: int):
    torch.manual_seed(0)
    assert check_core(core(10), VECTORS, longest)


# What sees the future.


class Reversed(Causal):
    def forward(self, x: Tensor) -> Tensor:
        return self.causal(x) + self.causal(x.flip(1)).flip(1)


class BothWays(Causal):
    def __init__(self, input_size: int):
        super().__init__(input_size)
        self.layer = nn.LSTM(input_size, WIDTH // 2, batch_first=True, bidirectional=True)


class MeanOverTime(Causal):
    size = 1.0

    def forward(self, x: Tensor) -> Tensor:
        return self.causal(x) - self.size * self.causal(x).mean(1, keepdim=True)


class LittleOfTheMean(MeanOverTime):
    size = 1e-5


class MaximumOverTime(Causal):
    def forward(self, x: Tensor) -> Tensor:
        return self.causal(x) + x.amax(1).sum(1)[:, None, None]


class LastStep(Causal):
    def forward(self, x: Tensor) -> Tensor:
        return self.causal(x) + 0.01 * x[:, -1:, :1]


class NormOverTime(Causal):
    def forward(self, x: Tensor) -> Tensor:
        return F.instance_norm(self.causal(x).transpose(1, 2)).transpose(1, 2)


class Peeks(Causal):
    steps = 1

    def forward(self, x: Tensor) -> Tensor:
        return self.causal(F.pad(x, (0, 0, 0, self.steps))[:, self.steps :])


class PeeksFar(Peeks):
    steps = 100


class PeeksBeyond(Peeks):
    steps = STEPS + 100


class OddStepsPeek(Causal):
    """Steps 1, 3, 5, … see the one after them."""

    def forward(self, x: Tensor) -> Tensor:
        after, odd = F.pad(x, (0, 0, 0, 1))[:, 1:, :1], torch.arange(x.shape[1]) % 2
        return self.causal(x) + odd[:, None] * after


class Unmasked(Attention):
    masked = False


class OpensLater(Unmasked):
    """The branch that sees the future has a weight of (almost) zero before training."""

    size = 0.0

    def __init__(self, input_size: int):
        super().__init__(input_size)
        self.weight = nn.Parameter(torch.full((WIDTH,), self.size))

    def forward(self, x: Tensor) -> Tensor:
        return self.q(x) + self.weight * super().forward(x)


class OpensSlowly(OpensLater):
    size = 1e-9


class Circular(Fourier):
    room = 1


class PaddedOnBothSides(Convolution):
    padding = (2, 2)


class OverLength(Causal):
    def forward(self, x: Tensor) -> Tensor:
        return self.causal(x) / x.shape[1]


class ReversedWhenLong(Reversed):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if x.shape[1] > STEPS else self.causal(x)


class ReversedInTraining(Reversed):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if self.training else self.causal(x)


class ReversedInEvaluation(Reversed):
    def forward(self, x: Tensor) -> Tensor:
        return self.causal(x) if self.training else super().forward(x)


class ReversedUnderNoise(Noise):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + self.causal(x.flip(1)).flip(1)


class ReversedUnderDropout(FunctionalDropout):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + self.causal(x.flip(1)).flip(1)


@pytest.mark.parametrize(
    "core",
    [
        *(Reversed, BothWays, MeanOverTime, LittleOfTheMean, MaximumOverTime, LastStep, NormOverTime, Peeks, PeeksFar),
        *(PeeksBeyond, OddStepsPeek, Unmasked, OpensLater, OpensSlowly, Circular, PaddedOnBothSides, OverLength),
        *(ReversedWhenLong, ReversedInTraining, ReversedInEvaluation, ReversedUnderNoise, ReversedUnderDropout),
    ],
)
def test_sees_the_future(core: type[nn.Module]):
    torch.manual_seed(0)
    with pytest.raises(ValueError, match=rf"^the core {core.__name__}: it sees the future: .*\(by .*causal") as refused:
        check_core(core(10), VECTORS, LONGEST)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("core", [Reversed, Peeks, Unmasked, MeanOverTime])
@pytest.mark.parametrize("longest", [2, 3, 7, 8])
def test_sees_the_future_of_short_sequences(core: type[nn.Module], longest: int):
    torch.manual_seed(0)
    with pytest.raises(ValueError, match="sees the future"):
        check_core(core(10), VECTORS, longest)


@pytest.mark.parametrize(
    ("core", "mode"), [(ReversedInTraining, "training"), (ReversedInEvaluation, "evaluation"), (Reversed, "training")]
)
def test_says_in_which_mode(core: type[nn.Module], mode: str):
    torch.manual_seed(0)
    with pytest.raises(ValueError, match=f"in {mode} mode"):
        check_core(core(10), VECTORS, 20)


# What mixes the sequences of a batch.


class Batchnorm(Causal):
    def __init__(self, input_size: int):
        super().__init__(input_size)
        self.norm = nn.BatchNorm1d(WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.causal(x).transpose(1, 2)).transpose(1, 2)


class TimeForBatch(Causal):
    """Torch's default: the first dimension is time."""

    def __init__(self, input_size: int):
        super().__init__(input_size)
        self.layer = nn.LSTM(input_size, WIDTH)


class MeanOverBatch(Causal):
    def forward(self, x: Tensor) -> Tensor:
        return self.causal(x) - self.causal(x).mean(0)


@pytest.mark.parametrize("core", [Batchnorm, TimeForBatch, MeanOverBatch])
@pytest.mark.parametrize("longest", [1, 8, LONGEST])
def test_mixes_the_batch(core: type[nn.Module], longest: int):
    torch.manual_seed(0)
    with pytest.raises(ValueError, match=r"one sequence of a batch changes the outputs of others.*batch_first=True"):
        check_core(core(10), VECTORS, longest)


# What is no function, or gives no numbers.


class RemembersTheLastBatch(Causal):
    def __init__(self, input_size: int):
        super().__init__(input_size)
        self.state: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        known = self.state is not None and self.state.shape[1] == len(x)
        outputs, state = self.layer(x, self.state if known else None)
        self.state = state.detach()
        return outputs


class NotANumber(Causal):
    def forward(self, x: Tensor) -> Tensor:
        return (self.causal(x) - 2).sqrt()


class NotANumberLater(Causal):
    """Where it ended in one, a comparison would be passed that asks what differs by more than is allowed."""

    def forward(self, x: Tensor) -> Tensor:
        return self.causal(x) * torch.where(torch.arange(x.shape[1]) > STEPS, torch.nan, 1.0)[:, None]


class Overflows(Plain):
    gain = 1e30

    def step(self, sum: Tensor) -> Tensor:
        return sum


class WithoutGradient(Causal):
    def forward(self, x: Tensor) -> Tensor:
        return self.causal(x).detach()


class KeepsItsGraph(Causal):
    def forward(self, x: Tensor) -> Tensor:
        self.seen = self.causal(x)
        return self.seen


class HasALock(Causal):
    def __init__(self, input_size: int):
        super().__init__(input_size)
        self.lock = threading.Lock()


class OfBoundedContext(Causal):
    def __init__(self, input_size: int):
        super().__init__(input_size)
        self.positions = nn.Parameter(torch.randn(400, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        return self.causal(x) + self.positions[: x.shape[1]]


class Raises(Causal):
    def forward(self, x: Tensor) -> Tensor:
        raise KeyError("a word\nand another line")


@pytest.mark.parametrize(
    ("core", "says"),
    [
        (RemembersTheLastBatch, "forward gives other outputs for the same inputs at a second call, in evaluation mode"),
        (NotANumber, "forward gave NaN or infinity, in training mode, for 256 steps"),
        (NotANumberLater, "forward gave NaN or infinity, in evaluation mode, for 601 steps"),
        (Overflows, "forward gave NaN or infinity"),
        (WithoutGradient, "forward gave outputs without a gradient"),
        (KeepsItsGraph, "it cannot be copied after a call .*; detach the"),
        (HasALock, "it cannot be copied .TypeError: cannot pickle '_thread.lock' object"),
        (
            OfBoundedContext,
            r"forward raised RuntimeError: The size of .* = \(1, 601, 10\); a core must take any number of seq",
        ),
        (Raises, r"forward raised KeyError: 'a word\\nand another line', in training mode.*HYDRA_FULL_ERROR=1"),
    ],
)
def test_refused(core: type[nn.Module], says: str):
    torch.manual_seed(0)
    with pytest.raises(ValueError, match=f"^the core {core.__name__}: {says}") as refused:
        check_core(core(10), VECTORS, LONGEST)
    assert "\n" not in str(refused.value)


def test_the_error_of_the_core_is_kept():
    with pytest.raises(ValueError, match="KeyError") as refused:
        check_core(Raises(10), VECTORS, 8)
    assert isinstance(refused.value.__cause__, KeyError)


def test_a_sequence_too_long_for_the_memory():
    with pytest.raises(ValueError, match=r"one sequence of 100000000000000 steps, .* does not fit into memory"):
        check_core(Causal(10), VECTORS, 10**14)


# Where it cannot be checked in float64.


class InSinglePrecision(Causal):
    """Its weights are converted, and what it makes by itself is not."""

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x, torch.zeros(1, len(x), WIDTH))[0]


class InSinglePrecisionReversed(InSinglePrecision):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + super().forward(x.flip(1)).flip(1)


def test_checked_in_float32_where_it_must_be(caplog: pytest.LogCaptureFixture):
    torch.manual_seed(0)
    assert not check_core(InSinglePrecision(10), VECTORS, LONGEST)
    (said,) = caplog.messages
    assert said.startswith("the core InSinglePrecision does not run in float64 on the CPU (RuntimeError: ")
    assert "it is checked in float32 on cpu" in said
    assert "\n" not in said
    with pytest.raises(ValueError, match="sees the future"):
        check_core(InSinglePrecisionReversed(10), VECTORS, LONGEST)


class NeedsTenSteps(Causal):
    def forward(self, x: Tensor) -> Tensor:
        return self.causal(F.pad(x.transpose(1, 2), (9, 0), mode="reflect").transpose(1, 2)[:, 9:])


def test_a_core_that_does_not_take_short_sequences_is_refused():
    with pytest.raises(ValueError, match=r"forward raised RuntimeError: .* = \(2, 8, 10\)"):
        check_core(NeedsTenSteps(10), VECTORS, 300)


def test_what_fails_in_any_precision_is_an_error_and_no_warning(caplog: pytest.LogCaptureFixture):
    with pytest.raises(ValueError, match="forward raised KeyError"):
        check_core(Raises(10), VECTORS, 8)
    assert caplog.messages == []


# What it leaves behind: nothing.


def random_states() -> tuple[object, ...]:
    return torch.get_rng_state().tolist(), random.getstate(), str(np.random.get_state())  # noqa: NPY002


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    "make",
    [
        lambda: LSTM(10, 8, num_layers=2, dropout=0.5),
        lambda: Transformer(10, 8, dropout=0.5),
        *(lambda core=core: core(10) for core in (Noise, OthersNoise, OwnGenerator, CountsSteps, Chaotic)),
        *(lambda core=core: core(10) for core in (Reversed, Raises, Batchnorm, InSinglePrecision)),
    ],
)
def test_leaves_no_trace(make, training: bool):
    core = make().train(training)
    before = {name: value.clone() for name, value in core.state_dict().items()}
    dropouts = [(part, part.p) for part in core.modules() if isinstance(part, nn.Dropout)]
    states = random_states()
    own = core.rng.get_state() if isinstance(core, OwnGenerator) else None
    try:
        check_core(core, VECTORS, 300)
    except ValueError:
        assert isinstance(core, Reversed | Raises | Batchnorm)
    assert random_states() == states
    assert torch.is_grad_enabled()
    assert all(part.training is training for part in core.modules())
    assert all(part.p == p for part, p in dropouts)
    assert not isinstance(core, LSTM) or core.dropout == 0.5
    assert all(weight.grad is None and weight.requires_grad for weight in core.parameters())
    for name, value in core.state_dict().items():
        assert value.dtype == before[name].dtype
        assert torch.equal(value, before[name]), name
    assert own is None or torch.equal(core.rng.get_state(), own)


def test_the_same_twice():
    refusals = []
    for _ in range(2):
        torch.manual_seed(0)
        core = Reversed(10)
        torch.manual_seed(len(refusals))
        with pytest.raises(ValueError, match="future") as refused:
            check_core(core, VECTORS, 300)
        refusals.append(str(refused.value))
    assert refusals[0] == refusals[1]


def test_a_copy_without_dropout_keeps_imaginary_parts():
    torch.manual_seed(0)
    core = Complex(10)
    copied = without_dropout(core)
    assert copied.turn.dtype == torch.complex128
    assert torch.equal(copied.turn.to(torch.complex64), core.turn)
    assert copied.write.weight.dtype == torch.float64
