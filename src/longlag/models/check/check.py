"""The check of a core before it trains: one that does not keep its contract is refused in one line.

In training mode (with gradient) and in evaluation mode (without), on sequences made of the inputs that the task has:

- shapes and dtype are those of the contract, and numbers are finite;
- the core is causal: inputs that differ after step t alone give the same outputs up to t, at several t, and so does a
  sequence that ends there. Nor does one sequence of a batch change the outputs of another, as in a BatchNorm or where
  the batch is taken for time;
- `forward`, `unroll`, and `unroll` in pieces are one function and have one gradient;
- any length will do: one sequence as long as the longest that is used (in evaluation mode) begins with the same outputs
  as its first steps alone. A leak that exists in such long sequences only, and only after those steps, is not found.

The copies that this is done on are in float64 on the CPU, where rounding is 1e-16 of a value; a kernel for the GPU
alone goes unseen there. Outputs are the same within 1.5e-8 of the largest of them: rounding may cost half of the
digits. What is computed in another shape is rounded in other places, and a chaotic core makes much of that: it may
also differ by 1e4 times what that core makes of inputs that differ in their last digit. Weights that are zero, or
nearly so, are small random numbers in the copies: what leaks through such a weight would do so once it is trained. A
core that draws random numbers finds the same ones in every pass; in a mode in which it does, only passes of one shape
are compared.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from longlag.models.check.copies import CPU
from longlag.models.check.trial import Trial, able

STEPS = 256  # of the sequences that all but the longest are checked on, at most
SHORT = 8  # of the sequence on which it is found out where the core runs, at most
GRADIENT_STEPS = 64  # of those, that gradients are compared over: they take longest
LAST_DIGIT = 4  # units in it by which an input is changed to see what rounding leads to
GROWTH = 1e4  # allowed beyond that
CAUSAL = (
    "the contract asks for a causal core: use a causal mask in attention, pad convolutions on the left only, and take "
    "no mean, norm or flip over time"
)


class Pairs(NamedTuple):
    """Pairs of sequences that are the same up to a step.

    x: (pairs, time, input_size); the last one is the first one, but for the last digit of each value.
    changed: the same shape.
    kept: (pairs) the last step up to which the two are the same, -1 where none is; the last step of the first pair and
        of the last two, which are the same throughout.
    """

    x: Tensor
    changed: Tensor
    kept: Tensor


def check_core(core: nn.Module, vectors: Tensor, longest: int, device: torch.device = CPU) -> bool:
    """Hold a core to its contract. It is left as it was, and so is every random state.

    Args:
        core: with `hidden_size`.
        vectors: (kinds, input_size) what a step of its inputs can be, or many such.
        longest: steps of the longest sequence that the core is to be used on.
        device: that it is to run on; it is checked there where it does not run on the CPU.

    Returns:
        Whether it was checked in float64. Otherwise it does not run in float64, and a warning has said so.

    Raises:
        ValueError: in one line, where the core does not keep the contract.
    """
    trial = able(core, vectors[: min(longest, SHORT)].expand(2, -1, -1), device)
    rng = torch.Generator().manual_seed(0)
    pairs = _pairs(trial, vectors, min(longest, STEPS), rng)
    for training in (True, False):
        _check_mode(trial.without_small_weights(rng).in_mode(training), pairs)
    if longest > STEPS:
        _check_length(trial.in_mode(training=False), _long(trial, vectors, longest, rng))
    return trial.exact


def _pairs(trial: Trial, vectors: Tensor, time: int, rng: torch.Generator) -> Pairs:
    last = time - 1
    after = sorted({step for step in (-1, 0, time // 3, time // 2, last - 1) if -1 <= step < last})
    kept = torch.tensor([last, *after, last, last], device=trial.device)
    if len(kept) == time:  # batch and time must be told apart
        kept = torch.cat([kept, kept[-1:]])
    x, other = (trial.cast(part) for part in _drawn(vectors, len(kept), time, rng))
    x[-1] = _last_digit(x[0])
    keeps = torch.arange(time, device=trial.device) <= kept[:, None]  # (pairs, time)
    return Pairs(x, torch.where(keeps[..., None], x, other), kept)


def _long(trial: Trial, vectors: Tensor, steps: int, rng: torch.Generator) -> Tensor:
    try:
        return trial.cast(_drawn(vectors, 1, steps, rng)[0])
    except RuntimeError as error:
        raise trial.error(
            f"one sequence of {steps} steps, the longest that is used, does not fit into memory; choose a smaller lag, "
            "or smaller eval.lags"
        ) from error


def _drawn(vectors: Tensor, sequences: int, time: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Sequences (sequences, time, input_size), and others that differ from them at every step.

    Every second one is of mixtures of two vectors: a value that is 0 or 1 alone would hide what a maximum gives away.
    """
    one = torch.randint(len(vectors), (sequences, time), generator=rng)
    two = (one + torch.randint(1, max(2, len(vectors)), (sequences, time), generator=rng)) % len(vectors)
    share = torch.rand(2, sequences, time, 1, generator=rng)
    share[:, ::2] = 1
    return torch.lerp(vectors[two], vectors[one], share[0]), torch.lerp(vectors[one], vectors[two], share[1])


def _last_digit(x: Tensor) -> Tensor:
    """The same, but for the last digit of each value."""
    return x * (1 + LAST_DIGIT * torch.finfo(x.dtype).eps)


def _check_mode(trial: Trial, pairs: Pairs) -> None:
    """All but the longest sequence."""
    outputs, again = trial.twice(pairs.x)
    _refuse_leaks(trial, pairs, outputs, trial.outputs(pairs.changed))
    if _apart(trial, outputs, again):  # it draws random numbers: passes of another shape find others
        _refuse_memory(trial, pairs.x)
        return
    half = pairs.x.shape[1] // 2
    if half:
        _refuse_more_steps(trial, trial.outputs(pairs.x[:, :half]), outputs)
    if trial.recurrent:
        _check_unroll(trial, pairs.x, outputs)


def _refuse_leaks(trial: Trial, pairs: Pairs, outputs: Tensor, changed: Tensor) -> None:
    """Refuse a core by its outputs (pairs, time, hidden_size) for the two of each pair."""
    apart = _beyond(trial, outputs, changed).amax(-1)  # (pairs, time)
    last = apart.shape[1] - 1
    if by := float(apart[pairs.kept == last].max()):
        raise trial.error(
            f"one sequence of a batch changes the outputs of others, {trial.mode} (by {by:.1e}); the contract asks "
            "that each is computed by itself: use LayerNorm in place of BatchNorm, and batch_first=True where a layer "
            "of torch would take time first"
        )
    for step, of_pair in zip(pairs.kept.tolist(), apart.tolist(), strict=True):
        if by := max(of_pair[: step + 1], default=0.0):
            raise trial.error(
                f"it sees the future: inputs that differ only after step {step} change its outputs up to that step, "
                f"{trial.mode} (by {by:.1e}); {CAUSAL}"
            )


def _refuse_memory(trial: Trial, x: Tensor) -> None:
    """Refuse a core that, in evaluation mode, gives other outputs at a second call with the same random numbers."""
    if not trial.training and _apart(trial, *trial.twice(x, alike=True)):
        raise trial.error(
            "forward gives other outputs for the same inputs at a second call, in evaluation mode; the contract asks "
            "for a function of them: keep nothing from call to call, and draw random numbers from torch's generator"
        )


def _refuse_more_steps(trial: Trial, of_first: Tensor, outputs: Tensor) -> None:
    """Refuse a core whose outputs (batch, steps, hidden_size) of the first steps change where more steps follow."""
    first, steps = of_first.shape[1], outputs.shape[1]
    if by := _apart(trial, of_first, outputs[:, :first], _rounding(of_first)):
        raise trial.error(
            f"it sees the future: its outputs for {first} steps change where {steps - first} more steps follow, "
            f"{trial.mode} (by {by:.1e}); {CAUSAL}"
        )


def _check_length(trial: Trial, x: Tensor) -> None:
    """One sequence (1, steps, input_size), and its first steps alone."""
    outputs, first = trial.outputs(x), x[:, :STEPS]
    of_first, again = trial.twice(torch.cat([first, _last_digit(first)]))
    if not _apart(trial, of_first, again):
        _refuse_more_steps(trial, of_first, outputs)


def _check_unroll(trial: Trial, x: Tensor, outputs: Tensor) -> None:
    """`unroll` on x (batch, time, input_size), against the outputs of `forward`."""
    unrolled = trial.unrolled(x)
    if by := _apart(trial, outputs, unrolled, _rounding(outputs)):
        raise trial.error(
            f"forward and unroll give different outputs, {trial.mode} (by {by:.1e}); the contract asks for one "
            "function, or the gradient in the state would be that of another core: let forward end with return "
            "self.unroll(x)[0]"
        )
    if by := _apart(trial, outputs, trial.in_pieces(x, _cuts(x)), _rounding(outputs)):
        raise trial.error(
            f"unroll over pieces, each from the state that the piece before ended in, gives different outputs than "
            f"over the whole, {trial.mode} (by {by:.1e}); the contract asks for a state that holds all that the core "
            "remembers"
        )
    if trial.training:
        _check_gradient(trial, x, outputs)


def _check_gradient(trial: Trial, x: Tensor, outputs: Tensor) -> None:
    """The gradient by the first steps of x of `forward`, against that of `unroll` in pieces.

    They are compared over the first steps, as far as rounding has not grown into the outputs: few in a chaotic core.
    """
    told = int((GROWTH * _rounding(outputs) <= trial.tolerance * outputs.abs().max()).sum())
    first = x[:, : min(max(1, told), GRADIENT_STEPS)]
    if by := _apart(trial, *trial.gradients(first, _cuts(first))):
        raise trial.error(
            f"the gradient through unroll over pieces differs from that through forward (by {by:.1e}); the contract "
            "asks for one function: do not detach the state"
        )


def _cuts(x: Tensor) -> list[int]:
    """Where the pieces of x (batch, time, input_size) begin and end: the first step, half of the rest, and the rest."""
    return sorted({0, 1, x.shape[1] // 2, x.shape[1]})


def _rounding(outputs: Tensor) -> Tensor:
    """How far rounding has grown by each step, (time, 1): the inputs of the last row are nearly those of the first."""
    return (outputs[-1] - outputs[0]).abs().amax(-1, keepdim=True).cummax(0).values


def _apart(trial: Trial, one: Tensor, other: Tensor, rounding: Tensor | float = 0.0) -> float:
    """By how much the two differ at most, 0 where rounding explains it."""
    return float(_beyond(trial, one, other, rounding).max())


def _beyond(trial: Trial, one: Tensor, other: Tensor, rounding: Tensor | float = 0.0) -> Tensor:
    """The differences, those that rounding explains being 0; NaN is no such difference."""
    apart = (one - other).abs()
    return torch.where(apart <= trial.tolerance * one.abs().max() + GROWTH * rounding, 0.0, apart)
