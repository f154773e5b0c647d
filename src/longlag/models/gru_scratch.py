"""The gated recurrent unit from scratch (Cho et al. 2014), in torch's form."""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from longlag.models.kernels.fused_cell import Fused, Steps, Views, array, tanh, through_sigmoid, through_tanh
from longlag.models.scratch import Scratch, Step


def gru_step(Wx_t: Tensor, h: Tensor, U: Tensor, b: Tensor) -> Step:
    """One step of time.

    Args:
        Wx_t: (batch, 3 hidden_size) the input's contribution to the gates, W x_t + b, where b is torch's b_ih.
        h: (batch, hidden_size) h_{t-1}.
        U: (3 hidden_size, hidden_size) the recurrent weights.
        b: (3 hidden_size) torch's b_hh, which is c in the equations below.

    Returns:
        The state (h_t) and the gates (r_t, z_t, n_t).
    """
    Wx_r, Wx_z, Wx_n = Wx_t.chunk(3, dim=-1)
    Uh_r, Uh_z, Uh_n = (h @ U.T + b).chunk(3, dim=-1)
    r_t = torch.sigmoid(Wx_r + Uh_r)  #    reset gate    r_t = σ(W_r x_t + b_r + U_r h_{t-1} + c_r)
    z_t = torch.sigmoid(Wx_z + Uh_z)  #    update gate   z_t = σ(W_z x_t + b_z + U_z h_{t-1} + c_z)
    n_t = torch.tanh(Wx_n + r_t * Uh_n)  # candidate     n_t = tanh(W_n x_t + b_n + r_t (U_n h_{t-1} + c_n))
    h_t = (1 - z_t) * n_t + z_t * h  #     the output    h_t = (1 - z_t) n_t + z_t h_{t-1}
    return (h_t,), (r_t, z_t, n_t)


class FusedGRU(Fused):
    """Blocks in the order n, r, z, q: the candidate, the two gates, and q = U_n h_{t-1} + c_n, which r multiplies."""

    blocks = 4
    kernel = "gru"
    from_h = 1  # block n is W_n x_t + b_n, without h: the recurrent part is in block q

    def pack(self, W: Tensor, U: Tensor, b_ih: Tensor, b_hh: Tensor) -> Tensor:
        """Reorder torch's rows r, z, n; the rows of n are split into a part for x (n) and a part for h (q)."""
        W_n, U_n, b_n, c_n = W.chunk(3)[2], U.chunk(3)[2], b_ih.chunk(3)[2], b_hh.chunk(3)[2]
        r, z, _ = torch.cat([W, (b_ih + b_hh)[:, None], U], dim=1).chunk(3)
        n = F.pad(torch.cat([W_n, b_n[:, None]], dim=1), (0, U.shape[1]))  # zero weights for h
        q = F.pad(torch.cat([c_n[:, None], U_n], dim=1), (W.shape[1], 0))  # zero weights for x
        return torch.cat([n, r, z, q])

    def views(self, gates: Tensor, C: Tensor | None) -> Views:
        """The gates r and z together, each block, and n in the form that `tanh` takes."""
        return gates[:, :, 1:3], *gates.unbind(2), array(gates[:, :, 0])

    def step(self, views: Sequence[Any], h: Tensor, C: Tensor, h_t: Tensor, C_t: Tensor, p: Tensor | None) -> None:
        """n = tanh(z_n + r q); h_t = n + z (h_{t-1} - n)."""
        r_z, n, r, z, q, to_n = views
        r_z.sigmoid_()
        n.addcmul_(r, q)
        tanh(to_n, out=to_n)
        torch.lerp(n, h, z, out=h_t)

    def slopes(self, dz: Tensor, gates: Tensor, h: Tensor, C: Tensor, p: Tensor | None) -> Steps:
        """dz_n = dh (1 - z) tanh'(z_n), dz_q = dz_n r, dz_r = dz_n q σ'(z_r), dz_z = dh (h_{t-1} - n) σ'(z_z).

        Returns:
            z = the direct part of dh_t/dh_{t-1}, which does not go through the gates.
        """
        (n, r, z, q), (dz_n, dz_r, dz_z, dz_q) = gates.unbind(2), dz.unbind(2)
        through_tanh(1 - z, n, out=dz_n)
        torch.mul(dz_n, r, out=dz_q)
        through_sigmoid(dz_n * q, r, out=dz_r)
        through_sigmoid(h[:-1] - n, z, out=dz_z)
        return (z,)

    def step_back(
        self, parts: Sequence[Tensor], others: Sequence[Tensor], dh: Tensor, dC: Tensor, dh_before: Tensor
    ) -> None:
        """dh_{t-1} += z dh_t."""
        parts[0].mul_(dh.unsqueeze(1))  # all four blocks are proportional to dh_t
        dh_before.addcmul_(dh, others[0])


class GRUScratch(Scratch):
    """The same function as `torch.nn.GRU` up to rounding, with torch's parameter names and gate order (r, z, n)."""

    architecture = "gru"
    step = staticmethod(gru_step)
    fused: ClassVar = FusedGRU()
