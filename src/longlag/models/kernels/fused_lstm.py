"""The LSTM for the fast loop: the equations of `lstm_scratch.py` and the gradient of `lstm_numpy.py`, in place."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from longlag.models.kernels.fused_cell import Fused, Steps, Views, array, tanh, through_sigmoid, through_tanh


class FusedLSTM(Fused):
    """Blocks in the order o, i, f, g: the three sigmoids are adjacent, and so are the three blocks that act on C."""

    blocks = 4
    has_memory = True
    kernel = "lstm"

    def pack(self, W: Tensor, U: Tensor, b_ih: Tensor, b_hh: Tensor) -> Tensor:
        """Reorder torch's rows i, f, g, o to o, i, f, g."""
        i, f, g, o = torch.cat([W, (b_ih + b_hh)[:, None], U], dim=1).chunk(4)
        return torch.cat([o, i, f, g])

    def views(self, gates: Tensor, C: Tensor | None) -> Views:
        """The sigmoid blocks together, each block, a buffer for T = tanh(C_t); g, C_t and T in the form for `tanh`."""
        assert C is not None
        T = C.new_empty(C.shape[1:])  # for one step: T is not stored, all steps share the buffer
        blocks, time = gates.unbind(2), len(gates)
        return gates[:, :, :-1], *blocks, [T] * time, array(blocks[-1]), array(C), [array(T)] * time

    def step(self, views: Sequence[Any], h: Tensor, C: Tensor, h_t: Tensor, C_t: Tensor, p: Tensor | None) -> None:
        """C_t = f C_{t-1} + i g and h_t = o tanh(C_t)."""
        o_i_f, o, i, f, g, T, to_g, to_C, to_T = views
        o_i_f.sigmoid_()
        tanh(to_g, out=to_g)
        torch.mul(i, g, out=C_t).addcmul_(f, C)
        tanh(to_C, out=to_T)
        torch.mul(o, T, out=h_t)

    def slopes(self, dz: Tensor, gates: Tensor, h: Tensor, C: Tensor, p: Tensor | None) -> Steps:
        """dz_o = dh tanh(C_t) σ'(z_o), dz_i = dC g σ'(z_i), dz_f = dC C_{t-1} σ'(z_f), dz_g = dC i tanh'(z_g).

        Returns:
            dh_t/dC_t = o tanh'(C_t), and dC_t/dC_{t-1} = f.
        """
        (o, i, f, g), (dz_o, dz_i, dz_f, dz_g) = gates.unbind(2), dz.unbind(2)
        through_sigmoid(g, i, out=dz_i)
        through_sigmoid(C[:-1], f, out=dz_f)
        through_tanh(i, g, out=dz_g)
        return output_slopes(o, C[1:], dz_o), f

    def parts(self, dz: Tensor) -> Steps:
        """The output gate, and the blocks that act on C."""
        return dz[:, :, 0], dz[:, :, 1:]

    def step_back(
        self, parts: Sequence[Tensor], others: Sequence[Tensor], dh: Tensor, dC: Tensor, dh_before: Tensor
    ) -> None:
        """dC_t += dh_t ∂h_t/∂C_t; then dC_{t-1} = dC_t f."""
        (out_of_C, into_C), (through, f) = parts, others  # slopes of o; slopes of i, f, g; ∂h_t/∂C_t; f_t
        dC.addcmul_(dh, through)
        into_C.mul_(dC.unsqueeze(1))
        out_of_C.mul_(dh)
        dC.mul_(f)


def output_slopes(o: Tensor, C: Tensor, dz_o: Tensor) -> Tensor:
    """The slopes of h = o tanh(C): write tanh(C) σ'(z_o) into `dz_o`, and return dh/dC = o tanh'(C)."""
    T = torch.empty_like(C)
    tanh(array(C), out=array(T))
    through_sigmoid(T, o, out=dz_o)
    through_tanh(o, T, out=T)
    return T
