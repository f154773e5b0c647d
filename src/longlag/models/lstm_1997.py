"""The LSTM of the first paper (Hochreiter & Schmidhuber 1997): there is no forget gate, so C_t only accumulates."""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from longlag.models.kernels.fused_cell import Steps, tanh, through_sigmoid, through_tanh
from longlag.models.kernels.fused_lstm import FusedLSTM, output_slopes
from longlag.models.scratch import Scratch, Step


def lstm_1997_step(Wx_t: Tensor, h: Tensor, C: Tensor, U: Tensor, b: Tensor) -> Step:
    """One step of time. Arguments and result are as in `lstm_step`, with the three gates i, g, o.

    The paper's 2σ(z) - 1 equals tanh(z/2), which is accurate for small z.
    """
    i, g, o = (Wx_t + h @ U.T + b).chunk(3, dim=-1)
    i_t = torch.sigmoid(i)  #      input gate     i_t = σ(W_i x_t + U_i h_{t-1} + b_i)
    g_t = 2 * torch.tanh(g / 2)  # candidate      g_t = g(W_g x_t + U_g h_{t-1} + b_g),  g(z) = 4σ(z) - 2 in [-2, 2]
    o_t = torch.sigmoid(o)  #      output gate    o_t = σ(W_o x_t + U_o h_{t-1} + b_o)
    C_t = C + i_t * g_t  #         cell state     C_t = C_{t-1} + i_t g_t
    h_t = o_t * torch.tanh(C_t / 2)  # the output h_t = o_t h(C_t),  h(C) = 2σ(C) - 1 in [-1, 1]
    return (h_t, C_t), (i_t, g_t, o_t)


class Fused1997(FusedLSTM):
    """Blocks in the order o, i, s, with s = tanh(z_g / 2) = g / 2. The loop holds D = C / 2: D_t = D_{t-1} + i s."""

    blocks = 3
    unit = 2.0
    kernel = "lstm_1997"

    def pack(self, W: Tensor, U: Tensor, b_ih: Tensor, b_hh: Tensor) -> Tensor:
        """Reorder torch's rows i, g, o to o, i, g, and halve the rows of g."""
        i, g, o = torch.cat([W, (b_ih + b_hh)[:, None], U], dim=1).chunk(3)
        return torch.cat([o, i, g / 2])

    def step(self, views: Sequence[Any], h: Tensor, C: Tensor, h_t: Tensor, C_t: Tensor, p: Tensor | None) -> None:
        """D_t = D_{t-1} + i s and h_t = o tanh(D_t); the arguments C and C_t hold D."""
        o_i, o, i, s, T, to_s, to_C, to_T = views
        o_i.sigmoid_()
        tanh(to_s, out=to_s)
        torch.addcmul(C, i, s, out=C_t)
        tanh(to_C, out=to_T)
        torch.mul(o, T, out=h_t)

    def slopes(self, dz: Tensor, gates: Tensor, h: Tensor, C: Tensor, p: Tensor | None) -> Steps:
        """dz_o = dh tanh(D_t) σ'(z_o), dz_i = dD s σ'(z_i), dz_s = dD i tanh'(z_g / 2); the argument C holds D.

        Returns:
            dh_t/dD_t = o tanh'(D_t), and dD_t/dD_{t-1} = 1.
        """
        (o, i, s), (dz_o, dz_i, dz_s) = gates.unbind(2), dz.unbind(2)
        through_sigmoid(s, i, out=dz_i)
        through_tanh(i, s, out=dz_s)
        return output_slopes(o, C[1:], dz_o), C.new_ones(1).expand_as(C[1:])


class LSTM1997(Scratch):
    """Constant error flow: dC_t/dC_{t-1} = 1. What enters the cell state stays, unless a later input cancels it.

    The gradient is exact. The paper truncates it where it would leave a memory cell through the gates. The cell state
    drifts if much is added to it: the paper starts the input gates with biases of -1 to -6, as chrono does here.
    """

    architecture = "lstm_1997"
    parts = 2
    step = staticmethod(lstm_1997_step)
    fused: ClassVar = Fused1997()
