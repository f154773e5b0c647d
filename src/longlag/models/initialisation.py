"""Initialisation as an independent axis: the schemes, and which architecture accepts which.

=================  ===  ====  =========  ===  ===========  =====================================================
scheme             rnn  lstm  lstm_1997  gru  transformer  what it sets
=================  ===  ====  =========  ===  ===========  =====================================================
torch              yes  yes   yes        yes  yes          PyTorch's own initialisation, unchanged
orthogonal         yes  yes   yes        yes  -            recurrent weights orthogonal (per gate), biases 0
identity           yes  -     -          -    -            recurrent weights the identity, biases 0
forget_one         -    yes   -          yes  -            orthogonal, and bias 1 of the gate that keeps (Gers et al.
                                                           2000)
chrono             -    yes   yes        yes  -            orthogonal, and gate biases log u, u uniform up to `t_max`
                                                           (Tallec & Ollivier 2018)
chrono_agnostic    -    yes   yes        yes  -            the same, u log-uniform over [2, 10,000]
chrono_unbounded   -    yes   yes        yes  -            the same, u from 2 to 10,000 with P(u) proportional to
                                                           1 / (u log^2(u + 1)) (Tallec & Ollivier, footnote)
=================  ===  ====  =========  ===  ===========  =====================================================

All but `torch` begin with orthogonal weights (or the identity) and biases of 0, and change one more thing: a sweep over
`model.init` shows which change carries the lag. `chrono` is an oracle where `t_max` is chosen from the lag that will be
tested, as in `conf/model/lstm_oracle.yaml`; `chrono_agnostic` and `chrono_unbounded` do not know any lag.
"""

import math

import torch
from torch import Tensor, nn

CHRONO = ("chrono", "chrono_agnostic", "chrono_unbounded")
ACCEPTED = {
    "rnn": ("torch", "orthogonal", "identity"),
    "lstm": ("torch", "orthogonal", "forget_one", *CHRONO),
    "lstm_1997": ("torch", "orthogonal", *CHRONO),
    "gru": ("torch", "orthogonal", "forget_one", *CHRONO),
    "transformer": ("torch",),
}
GATES = {  # in torch's order
    "rnn": ("h",),
    "lstm": ("i", "f", "g", "o"),
    "lstm_1997": ("i", "g", "o"),
    "gru": ("r", "z", "n"),
}
AGNOSTIC = (2, 10_000)  # the shortest and the longest time scale, in steps, of the schemes that know no lag
KEEPING_GATE = {"lstm": "f", "gru": "z"}  # the gate that multiplies the previous state at every step


def check_scheme(architecture: str, scheme: str) -> None:
    """Raise ValueError, which lists the accepted schemes, if the architecture does not accept this one."""
    accepted = ACCEPTED[architecture]
    if scheme not in accepted:
        raise ValueError(f"model.init={scheme} does not fit the {architecture}; it takes {', '.join(accepted)}")


@torch.no_grad()
def initialise(core: nn.Module, architecture: str, scheme: str, t_max: float, layers: int) -> None:
    """Set the weights of a recurrent core that has torch's parameter names and gate order.

    Args:
        core: the core, with the parameters that `torch.nn` gave it.
        architecture: a column of the table above, except the transformer.
        scheme: a row of the table above.
        t_max: longest time scale of chrono, in steps; values below 3 count as 3.
        layers: number of layers of the core.

    Raises:
        ValueError: if the architecture does not accept the scheme.
    """
    check_scheme(architecture, scheme)
    if scheme == "torch":
        return
    for layer in range(layers):
        weight_hh, bias_ih, bias_hh = (
            getattr(core, f"{name}_l{layer}") for name in ("weight_hh", "bias_ih", "bias_hh")
        )
        gates = GATES[architecture]
        for block in weight_hh.chunk(len(gates)):  # (hidden_size, hidden_size)
            (nn.init.eye_ if scheme == "identity" else nn.init.orthogonal_)(block)
        bias_ih.zero_()
        bias_hh.zero_()  # torch adds the two biases: the whole bias is in bias_ih
        bias = dict(zip(gates, bias_ih.chunk(len(gates)), strict=True))
        if scheme == "forget_one":
            bias[KEEPING_GATE[architecture]].fill_(1.0)
        elif scheme in CHRONO:
            _chrono(bias, architecture, _log_time_scales(next(iter(bias.values())), scheme, t_max))


def _log_time_scales(like: Tensor, scheme: str, t_max: float) -> Tensor:
    """log u for each unit, u being its time scale in steps.

    chrono: u ~ U[1, t_max - 1] (Tallec & Ollivier 2018, eq. 16).
    chrono_agnostic: log u ~ U[log 2, log 10,000]: as many units for each decade of time scales.
    chrono_unbounded: u = 2, 3, …, 10,000 with P(u) proportional to 1 / (u log^2(u + 1)): the law that the paper's
    footnote to section 3 gives for an unknown range, which puts most units at short time scales.
    """
    shortest, longest = AGNOSTIC
    if scheme == "chrono":
        return torch.empty_like(like).uniform_(1.0, max(t_max, 3) - 1.0).log_()
    if scheme == "chrono_agnostic":
        return torch.empty_like(like).uniform_(math.log(shortest), math.log(longest))
    scales = torch.arange(shortest, longest + 1, dtype=like.dtype, device=like.device)
    chosen = torch.multinomial(1 / (scales * (scales + 1).log() ** 2), like.numel(), replacement=True)
    return scales[chosen].log()


def _chrono(bias: dict[str, Tensor], architecture: str, log_u: Tensor) -> None:
    """b_f = log u and, for the LSTM, b_i = -log u; for the GRU b_z = log u. A unit keeps its state for about u steps.

    The LSTM of 1997 has no gate that keeps. It admits little input instead: b_i = -log u. The 1997 paper uses
    input-gate biases of -1 to -6 for this.
    """
    if architecture in KEEPING_GATE:
        bias[KEEPING_GATE[architecture]].copy_(log_u)
    if "i" in bias:
        bias["i"].copy_(-log_u)
