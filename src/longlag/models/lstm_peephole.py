"""The LSTM with peepholes (Gers & Schmidhuber 2000): the gates also see the cell state that they control."""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from longlag.models.kernels.fused_cell import Steps, Views, tanh
from longlag.models.kernels.fused_lstm import FusedLSTM
from longlag.models.scratch import Scratch, Step


def lstm_peephole_step(Wx_t: Tensor, h: Tensor, C: Tensor, U: Tensor, b: Tensor, p: Tensor) -> Step:
    """One step of time. Arguments and result are as in `lstm_step`; p (3 hidden_size) are the peepholes of i, f, o."""
    i, f, g, o = (Wx_t + h @ U.T + b).chunk(4, dim=-1)
    p_i, p_f, p_o = p.chunk(3)
    i_t = torch.sigmoid(i + p_i * C)  # input gate    i_t = σ(W_i x_t + U_i h_{t-1} + p_i C_{t-1} + b_i)
    f_t = torch.sigmoid(f + p_f * C)  # forget gate   f_t = σ(W_f x_t + U_f h_{t-1} + p_f C_{t-1} + b_f)
    g_t = torch.tanh(g)  #              candidate     g_t = tanh(W_g x_t + U_g h_{t-1} + b_g)
    C_t = f_t * C + i_t * g_t  #        cell state    C_t = f_t C_{t-1} + i_t g_t
    o_t = torch.sigmoid(o + p_o * C_t)  # output gate o_t = σ(W_o x_t + U_o h_{t-1} + p_o C_t + b_o)
    h_t = o_t * torch.tanh(C_t)  #      the output    h_t = o_t tanh(C_t)
    return (h_t, C_t), (i_t, f_t, g_t, o_t)


class FusedPeephole(FusedLSTM):
    """Blocks in the order o, i, f, g. The peepholes add gradient paths: to C_t through o, to C_{t-1} through i, f."""

    kernel = "lstm_peephole"

    def views(self, gates: Tensor, C: Tensor | None) -> Views:
        """The views of the LSTM, but with only i and f together, since o needs C_t first."""
        return gates[:, :, 1:3], *super().views(gates, C)[1:]

    def step(self, views: Sequence[Any], h: Tensor, C: Tensor, h_t: Tensor, C_t: Tensor, p: Tensor | None) -> None:
        """The step of the LSTM with the peephole terms: i and f need C_{t-1}, o needs C_t."""
        assert p is not None
        i_f, o, i, f, g, T, to_g, to_C, to_T = views
        i_f.addcmul_(p[:2], C.unsqueeze(1)).sigmoid_()
        tanh(to_g, out=to_g)
        torch.mul(i, g, out=C_t).addcmul_(f, C)
        o.addcmul_(p[2], C_t).sigmoid_()
        tanh(to_C, out=to_T)
        torch.mul(o, T, out=h_t)

    def slopes(self, dz: Tensor, gates: Tensor, h: Tensor, C: Tensor, p: Tensor | None) -> Steps:
        """The slopes of the LSTM; dh_t/dC_t gains p_o dz_o, and dC_t/dC_{t-1} gains p_i dz_i + p_f dz_f."""
        assert p is not None
        through, f = super().slopes(dz, gates, h, C, p)
        dz_o, dz_i, dz_f, _ = dz.unbind(2)
        return through.addcmul_(p[2], dz_o), torch.addcmul(f, p[0], dz_i).addcmul_(p[1], dz_f)

    def peephole_gradient(self, dz: Tensor, C: Tensor) -> Tensor:
        """dp_i = Σ dz_i C_{t-1}, dp_f = Σ dz_f C_{t-1}, dp_o = Σ dz_o C_t, summed over steps and batch."""
        dz_o, dz_i, dz_f, _ = dz.unbind(2)
        products = (dz_i * C[:-1], dz_f * C[:-1], dz_o * C[1:])
        return torch.stack([product.sum((0, 1)) for product in products])


class LSTMPeephole(Scratch):
    """`lstm_scratch` with peephole weights `weight_ch` (3 hidden_size); the other parameters have torch's names.

    Every initialisation except `torch` sets the peepholes to 0.
    """

    architecture = "lstm"
    parts = 2
    extra: ClassVar = {"weight_ch": 3}
    step = staticmethod(lstm_peephole_step)
    fused: ClassVar = FusedPeephole()
