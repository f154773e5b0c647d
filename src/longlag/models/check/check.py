"""Checks a core before it trains: a core that violates the contract is refused with an error of one line.

The check runs in training mode (with gradient) and in evaluation mode (without), on sequences of the task's inputs:

- Shapes and dtype are those of the contract, and all numbers are finite.
- The core is causal: inputs that differ only after step t give the same outputs up to t, for several t. The same holds
  for a sequence that ends at t. One sequence of a batch does not change the outputs of another, as it would with
  BatchNorm or if the core took the batch dimension for time.
- `forward`, `unroll`, and `unroll` in pieces are the same function and have the same gradient.
- Any length is accepted: one sequence as long as the longest one used (in evaluation mode) starts with the same outputs
  as its first steps alone. A leak that occurs only in such long sequences and only after those steps is not found.

The core is copied to float64 on the CPU, where the rounding error is 1e-16 of a value; a kernel that exists only for
the GPU is not tested there. Outputs count as equal within 1.5e-8 of the largest one: rounding may cost half of the
digits. A computation in another shape rounds differently, and a chaotic core amplifies this. Outputs may therefore also
differ by 1e4 times the change that inputs with a different last digit cause. Weights at or near zero are replaced by
small random numbers in the copies: a leak through such a weight would appear once it is trained. A core that draws
random numbers gets the same ones in every pass. In a mode where it draws them, only passes of one shape are compared.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from longlag.models.check.copies import CPU
from longlag.models.check.trial import Trial, able

STEPS = 256  # maximal length of all checked sequences except the longest
SHORT = 8  # maximal length of the sequence that tests in which precision and on which device the core runs
GRADIENT_STEPS = 64  # maximal number of steps over which gradients are compared, the slowest part of the check
LAST_DIGIT = 4  # change of an input, in machine epsilons, that shows how far rounding errors grow
GROWTH = 1e4  # allowed difference, as a multiple of the effect of that change
CAUSAL = (
    "a core must be causal: use a causal mask in attention, pad convolutions on the left only, and take "
    "no mean, norm or flip over time"
)


class Pairs(NamedTuple):
    """Pairs of sequences that are equal up to a step.

    x: (pairs, time, input_size); the last one equals the first one except for the last digit of each value.
    changed: (pairs, time, input_size) the second sequence of each pair.
    kept: (pairs) the last step up to which the two sequences of a pair are equal, -1 if they differ from the start. For
        the first pair and the last two it is the last step: the two sequences are equal.
    """

    x: Tensor
    changed: Tensor
    kept: Tensor


def check_core(core: nn.Module, vectors: Tensor, longest: int, device: torch.device = CPU) -> bool:
    """Check that a core keeps its contract. The core and all random states are left unchanged.

    Args:
        core: the core, with `hidden_size`.
        vectors: (kinds, input_size) the possible inputs at one step, or many of them.
        longest: number of steps of the longest sequence that the core will be used on.
        device: the device that the core will run on; the check runs there if the core does not run on the CPU.

    Returns:
        Whether the check ran in float64. If not, the core does not run in float64, and a warning has been logged.

    Raises:
        ValueError: if the core violates the contract; the message is one line.
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
    # Equal up to nowhere (-1), the first step, a third, a half, and all steps but the last.
    after = sorted({step for step in (-1, 0, time // 3, time // 2, last - 1) if -1 <= step < last})
    kept = torch.tensor([last, *after, last, last], device=trial.device)
    if len(kept) == time:  # otherwise a swap of batch and time would keep the shape
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
    """Draw (sequences, time, input_size), and another such tensor that differs from it at every step.

    Every second sequence mixes two vectors at each step: with values of only 0 and 1, a maximum could hide a leak.
    """
    one = torch.randint(len(vectors), (sequences, time), generator=rng)
    two = (one + torch.randint(1, max(2, len(vectors)), (sequences, time), generator=rng)) % len(vectors)
    share = torch.rand(2, sequences, time, 1, generator=rng)
    share[:, ::2] = 1
    return torch.lerp(vectors[two], vectors[one], share[0]), torch.lerp(vectors[one], vectors[two], share[1])


def _last_digit(x: Tensor) -> Tensor:
    """Return x with the last digit of each value changed."""
    return x * (1 + LAST_DIGIT * torch.finfo(x.dtype).eps)


def _check_mode(trial: Trial, pairs: Pairs) -> None:
    """Run all checks of one mode, except that of the longest sequence."""
    outputs, again = trial.twice(pairs.x)
    _refuse_leaks(trial, pairs, outputs, trial.outputs(pairs.changed))
    if _apart(trial, outputs, again):  # the core draws random numbers, which differ in passes of another shape
        _refuse_memory(trial, pairs.x)
        return
    half = pairs.x.shape[1] // 2
    if half:
        _refuse_more_steps(trial, trial.outputs(pairs.x[:, :half]), outputs)
    if trial.recurrent:
        _check_unroll(trial, pairs.x, outputs)


def _refuse_leaks(trial: Trial, pairs: Pairs, outputs: Tensor, changed: Tensor) -> None:
    """Refuse a core whose outputs (pairs, time, hidden_size) differ where the two inputs of a pair are equal."""
    apart = _beyond(trial, outputs, changed).amax(-1)  # (pairs, time)
    last = apart.shape[1] - 1
    if by := float(apart[pairs.kept == last].max()):
        raise trial.error(
            f"one sequence of a batch changes the outputs of others, {trial.mode} (by {by:.1e}); a core must "
            "compute each sequence by itself: use LayerNorm in place of BatchNorm, and batch_first=True where a layer "
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
            "forward gives other outputs for the same inputs at a second call, in evaluation mode; the outputs of a "
            "core must depend on its inputs alone: keep nothing from call to call, and draw random numbers from "
            "torch's generator"
        )


def _refuse_more_steps(trial: Trial, of_first: Tensor, outputs: Tensor) -> None:
    """Refuse a core whose outputs (batch, steps, hidden_size) for the first steps change if more steps follow."""
    first, steps = of_first.shape[1], outputs.shape[1]
    if by := _apart(trial, of_first, outputs[:, :first], _rounding(of_first)):
        raise trial.error(
            f"it sees the future: its outputs for {first} steps change where {steps - first} more steps follow, "
            f"{trial.mode} (by {by:.1e}); {CAUSAL}"
        )


def _check_length(trial: Trial, x: Tensor) -> None:
    """Compare the outputs for one sequence (1, steps, input_size) with those for its first steps alone."""
    outputs, first = trial.outputs(x), x[:, :STEPS]
    of_first, again = trial.twice(torch.cat([first, _last_digit(first)]))
    if not _apart(trial, of_first, again):  # else the core draws random numbers, and only equal shapes are comparable
        _refuse_more_steps(trial, of_first, outputs)


def _check_unroll(trial: Trial, x: Tensor, outputs: Tensor) -> None:
    """Compare `unroll` on x (batch, time, input_size) with the outputs of `forward`."""
    unrolled = trial.unrolled(x)
    if by := _apart(trial, outputs, unrolled, _rounding(outputs)):
        raise trial.error(
            f"forward and unroll give different outputs, {trial.mode} (by {by:.1e}); a core must compute "
            "the same function in both, or the gradient of the state would be that of another core: let forward end "
            "with return self.unroll(x)[0]"
        )
    if by := _apart(trial, outputs, trial.in_pieces(x, _cuts(x)), _rounding(outputs)):
        raise trial.error(
            f"unroll over pieces, each from the state that the piece before ended in, gives different outputs than "
            f"over the whole, {trial.mode} (by {by:.1e}); the state of a core must hold all that the core "
            "remembers"
        )
    if trial.training:
        _check_gradient(trial, x, outputs)


def _check_gradient(trial: Trial, x: Tensor, outputs: Tensor) -> None:
    """Compare the gradients through `forward` and through `unroll` in pieces, with respect to the first steps of x.

    The comparison covers the steps at which rounding errors are still small in the outputs: few in a chaotic core.
    """
    # Number of steps at which the allowed effect of rounding is below the tolerance.
    told = int((GROWTH * _rounding(outputs) <= trial.tolerance * outputs.abs().max()).sum())
    first = x[:, : min(max(1, told), GRADIENT_STEPS)]
    if by := _apart(trial, *trial.gradients(first, _cuts(first))):
        raise trial.error(
            f"the gradient through unroll over pieces differs from that through forward (by {by:.1e}); a core must "
            "have the same gradient in both: do not detach the state"
        )


def _cuts(x: Tensor) -> list[int]:
    """Boundaries of the pieces of x (batch, time, input_size): the first step, the rest of the first half, the rest."""
    return sorted({0, 1, x.shape[1] // 2, x.shape[1]})


def _rounding(outputs: Tensor) -> Tensor:
    """Growth of rounding errors up to each step, (time, 1): the last row's inputs are nearly those of the first row."""
    return (outputs[-1] - outputs[0]).abs().amax(-1, keepdim=True).cummax(0).values


def _apart(trial: Trial, one: Tensor, other: Tensor, rounding: Tensor | float = 0.0) -> float:
    """The largest difference of the two, 0 if rounding explains it."""
    return float(_beyond(trial, one, other, rounding).max())


def _beyond(trial: Trial, one: Tensor, other: Tensor, rounding: Tensor | float = 0.0) -> Tensor:
    """The absolute differences, set to 0 where rounding explains them; a NaN is never explained by rounding."""
    apart = (one - other).abs()
    return torch.where(apart <= trial.tolerance * one.abs().max() + GROWTH * rounding, 0.0, apart)
