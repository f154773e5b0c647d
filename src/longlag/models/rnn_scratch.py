"""The tanh RNN from scratch (Elman 1990), and the same with the ReLU (Le, Jaitly & Hinton 2015)."""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from longlag.models.kernels.fused_cell import Fused, Steps, Views, array, tanh
from longlag.models.scratch import Scratch, Step


def rnn_step(Wx_t: Tensor, h: Tensor, U: Tensor, b: Tensor) -> Step:
    """One step of time.

    Args:
        Wx_t: (batch, hidden_size) the input's contribution, W x_t + b_ih.
        h: (batch, hidden_size) h_{t-1}.
        U: (hidden_size, hidden_size) the recurrent weights.
        b: (hidden_size) b_hh.

    Returns:
        The state (h_t), and an empty tuple: there are no gates.
    """
    h_t = torch.tanh(Wx_t + h @ U.T + b)  # h_t = tanh(W x_t + U h_{t-1} + b)
    return (h_t,), ()


def rnn_relu_step(Wx_t: Tensor, h: Tensor, U: Tensor, b: Tensor) -> Step:
    """One step of time. Arguments and result are as in `rnn_step`."""
    h_t = torch.relu(Wx_t + h @ U.T + b)  # h_t = max(W x_t + U h_{t-1} + b, 0)
    return (h_t,), ()


class FusedRNN(Fused):
    """A single block, which the backward pass does not need: tanh' = 1 - h_t²."""

    blocks = 1
    needs_gates = False
    kernel = "rnn"

    def pack(self, W: Tensor, U: Tensor, b_ih: Tensor, b_hh: Tensor) -> Tensor:
        """Keep torch's row order."""
        return torch.cat([W, (b_ih + b_hh)[:, None], U], dim=1)

    def views(self, gates: Tensor, C: Tensor | None) -> Views:
        """The sum z, as a tensor and in the form that `tanh` takes."""
        return gates[:, :, 0], array(gates[:, :, 0])

    def step(self, views: Sequence[Any], h: Tensor, C: Tensor, h_t: Tensor, C_t: Tensor, p: Tensor | None) -> None:
        """h_t = tanh(z)."""
        z, to_h = views
        tanh(to_h, out=to_h)
        h_t.copy_(z)

    def slopes(self, dz: Tensor, gates: Tensor, h: Tensor, C: Tensor, p: Tensor | None) -> Steps:
        """dz = dh (1 - h_t²). There are no other factors."""
        torch.mul(h[1:], h[1:], out=dz[:, :, 0]).neg_().add_(1)
        return ()

    def parts(self, dz: Tensor) -> Steps:
        """The only block, (time, batch, hidden)."""
        return (dz[:, :, 0],)

    def step_back(
        self, parts: Sequence[Tensor], others: Sequence[Tensor], dh: Tensor, dC: Tensor, dh_before: Tensor
    ) -> None:
        """All of dh_t passes through the tanh: nothing is added to dh_{t-1} here."""
        parts[0].mul_(dh)


class FusedReLU(FusedRNN):
    """A single block as in the tanh RNN; the slope is 1 where h_t > 0, otherwise 0, and 1 where h_t is NaN."""

    kernel = "rnn_relu"

    def views(self, gates: Tensor, C: Tensor | None) -> Views:
        """The sum z."""
        return (gates[:, :, 0],)

    def step(self, views: Sequence[Any], h: Tensor, C: Tensor, h_t: Tensor, C_t: Tensor, p: Tensor | None) -> None:
        """h_t = max(z, 0)."""
        torch.clamp_min(views[0], 0, out=h_t)

    def slopes(self, dz: Tensor, gates: Tensor, h: Tensor, C: Tensor, p: Tensor | None) -> Steps:
        """dz = dh where h_t > 0. There are no other factors."""
        torch.logical_not(h[1:] <= 0, out=dz[:, :, 0])
        return ()


class RNNScratch(Scratch):
    """The same function as `torch.nn.RNN` up to rounding, with the same parameter names."""

    architecture = "rnn"
    step = staticmethod(rnn_step)
    fused: ClassVar = FusedRNN()


class ReLURNNScratch(Scratch):
    """The same function as `torch.nn.RNN` with `nonlinearity="relu"` up to rounding, with the same parameter names."""

    architecture = "rnn"
    step = staticmethod(rnn_relu_step)
    fused: ClassVar = FusedReLU()
