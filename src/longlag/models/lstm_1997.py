"""The LSTM as it was published first (Hochreiter & Schmidhuber 1997): no forget gate, so C_t only adds up."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from longlag.models.kernels.fused_cell import Steps
from longlag.models.kernels.fused_lstm import FusedLSTM
from longlag.models.scratch import Scratch, Step


def lstm_1997_step(Wx_t: Tensor, h: Tensor, C: Tensor, U: Tensor, b: Tensor) -> Step:
    """One step of time; arguments and result as of `lstm_step`, with the three gates i, g, o."""
    i, g, o = (Wx_t + h @ U.T + b).chunk(3, dim=-1)
    i_t = torch.sigmoid(i)  #      input gate     i_t = σ(W_i x_t + U_i h_{t-1} + b_i)
    g_t = 4 * torch.sigmoid(g) - 2  # candidate   g_t = g(W_g x_t + U_g h_{t-1} + b_g),  g(z) = 4σ(z) - 2 in [-2, 2]
    o_t = torch.sigmoid(o)  #      output gate    o_t = σ(W_o x_t + U_o h_{t-1} + b_o)
    C_t = C + i_t * g_t  #         the cell       C_t = C_{t-1} + i_t g_t
    h_t = o_t * (2 * torch.sigmoid(C_t) - 1)  #   h_t = o_t h(C_t),  h(C) = 2σ(C) - 1 in [-1, 1]
    return (h_t, C_t), (i_t, g_t, o_t)


class Fused1997(FusedLSTM):
    """Blocks i, s, o. With s = σ(-z_g), g = 2 - 4s; with S = σ(-C), h(C) = 1 - 2S."""

    blocks = 3

    def pack(self, W: Tensor, U: Tensor, b_ih: Tensor, b_hh: Tensor) -> Tensor:
        """Rows i, g, o, those of g times -1."""
        i, g, o = torch.cat([W, (b_ih + b_hh)[:, None], U], dim=1).chunk(3)
        return torch.cat([i, -g, o])

    def step(self, views: Sequence[Tensor], h: Tensor, C: Tensor, h_t: Tensor, C_t: Tensor, p: Tensor | None) -> None:
        """C_t = C_{t-1} + 2 (i - 2 i s) and h_t = o - 2 o S."""
        z, i, s, o = views
        z.sigmoid_()
        torch.add(C, torch.addcmul(i, i, s, value=-2, out=C_t), alpha=2, out=C_t)
        torch.neg(C_t, out=h_t).sigmoid_()
        torch.addcmul(o, o, h_t, value=-2, out=h_t)

    def slopes(self, dz: Tensor, gates: Tensor, h: Tensor, C: Tensor, p: Tensor | None) -> Steps:
        """dz_i = dC g σ'(z_i), dz_s = dC (-4i) σ'(z_s), dz_o = dh h(C_t) σ'(z_o).

        Returns:
            dh_t/dC_t = o (1 - h²(C_t)) / 2, and dC_t/dC_{t-1} = 1.
        """
        i, s, o = gates.unbind(2)
        dz_i, dz_s, dz_o = torch.addcmul(gates, gates, gates, value=-1, out=dz).unbind(2)  # σ' = σ (1 - σ)
        squashed = C[1:].neg().sigmoid_().mul_(-2).add_(1)
        dz_i.mul_((-4 * s).add_(2))  # times g
        dz_s.mul_(i).mul_(-4)
        dz_o.mul_(squashed)
        return torch.addcmul(o, o, squashed.square_(), value=-1).div_(2), C.new_ones(1).expand_as(C[1:])


class LSTM1997(Scratch):
    """Constant error flow, literally: dC_t/dC_{t-1} = 1. What was let in stays, unless it is cancelled.

    The gradient is the exact one, not the paper's, which is cut off where it would leave a cell by way of the gates.
    Cells drift when much is let in: the paper starts the input gates at biases of -1 to -6, as chrono does here.
    """

    architecture = "lstm_1997"
    parts = 2
    step = staticmethod(lstm_1997_step)
    fused: ClassVar = Fused1997()
