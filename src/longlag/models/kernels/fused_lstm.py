"""The LSTM for the fast loop: the equations of `lstm_scratch.py` and the gradient of `lstm_numpy.py`, in place.

With s = σ(-2 z_g) the candidate is g = tanh(z_g) = 1 - 2s, and with S = σ(-2C), tanh(C) = 1 - 2S. So i g = i - 2 i s
and h = o - 2 o S, which are one call each.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from longlag.models.kernels.fused_cell import Fused, Steps


class FusedLSTM(Fused):
    """Blocks i, f, s, o."""

    blocks = 4
    has_memory = True

    def pack(self, W: Tensor, U: Tensor, b_ih: Tensor, b_hh: Tensor) -> Tensor:
        """Torch's rows i, f, g, o, those of g times -2."""
        i, f, g, o = torch.cat([W, (b_ih + b_hh)[:, None], U], dim=1).chunk(4)
        return torch.cat([i, f, -2 * g, o])

    def step(self, views: Sequence[Tensor], h: Tensor, C: Tensor, h_t: Tensor, C_t: Tensor, p: Tensor | None) -> None:
        """C_t = f C_{t-1} + i g and h_t = o tanh(C_t)."""
        z, i, f, s, o = views
        z.sigmoid_()
        torch.addcmul(i, i, s, value=-2, out=C_t).addcmul_(f, C)
        output(o, C_t, h_t)

    def slopes(self, dz: Tensor, gates: Tensor, h: Tensor, C: Tensor, p: Tensor | None) -> Steps:
        """dz_i = dC g σ'(z_i), dz_f = dC C_{t-1} σ'(z_f), dz_s = dC (-2i) σ'(z_s), dz_o = dh tanh(C_t) σ'(z_o).

        Returns:
            dh_t/dC_t = o (1 - tanh²(C_t)), and f.
        """
        i, f, s, o = gates.unbind(2)
        dz_i, dz_f, dz_s, dz_o = torch.addcmul(gates, gates, gates, value=-1, out=dz).unbind(2)  # σ' = σ (1 - σ)
        tanh_C = (-2 * C[1:]).sigmoid_().mul_(-2).add_(1)
        dz_i.mul_((-2 * s).add_(1))  # times g
        dz_f.mul_(C[:-1])
        dz_s.mul_(i).mul_(-2)
        dz_o.mul_(tanh_C)
        return torch.addcmul(o, o, tanh_C.square_(), value=-1), f

    def parts(self, dz: Tensor) -> Steps:
        """The gates that act on C, and the output gate."""
        return dz[:, :, :-1], dz[:, :, -1]

    def step_back(
        self, parts: Sequence[Tensor], others: Sequence[Tensor], dh: Tensor, dC: Tensor, dh_before: Tensor
    ) -> None:
        """dC_t += dh_t dh_t/dC_t; then dC_{t-1} = dC_t f."""
        (into_C, out_of_C), (through, f) = parts, others
        dC.addcmul_(dh, through)
        into_C.mul_(dC.unsqueeze(1))
        out_of_C.mul_(dh)
        dC.mul_(f)


def output(o: Tensor, C_t: Tensor, h_t: Tensor) -> None:
    """h_t = o tanh(C_t) = o - 2 o σ(-2 C_t), written to h_t."""
    torch.sub(C_t, C_t, alpha=3, out=h_t).sigmoid_()  # σ(-2C): a factor -2 would be made a tensor anew at every step
    torch.addcmul(o, o, h_t, value=-2, out=h_t)
