"""Long short-term memory from scratch: one line per textbook equation. `lstm_numpy.py` has their gradient."""

from typing import ClassVar

import torch
from torch import Tensor

from longlag.models.kernels.fused_lstm import FusedLSTM
from longlag.models.scratch import Scratch, Step


def lstm_step(Wx_t: Tensor, h: Tensor, C: Tensor, U: Tensor, b: Tensor) -> Step:
    """One step of time.

    Args:
        Wx_t: (batch, 4 hidden_size) the input's contribution to the gates, W x_t + b_ih.
        h: (batch, hidden_size) h_{t-1}.
        C: (batch, hidden_size) C_{t-1}.
        U: (4 hidden_size, hidden_size) the recurrent weights.
        b: (4 hidden_size) b_hh. Torch has two biases; b in the equations is their sum b_ih + b_hh.

    Returns:
        The state (h_t, C_t) and the gates (i_t, f_t, g_t, o_t).
    """
    i, f, g, o = (Wx_t + h @ U.T + b).chunk(4, dim=-1)
    i_t = torch.sigmoid(i)  # input gate       i_t = σ(W_i x_t + U_i h_{t-1} + b_i)
    f_t = torch.sigmoid(f)  # forget gate      f_t = σ(W_f x_t + U_f h_{t-1} + b_f)
    g_t = torch.tanh(g)  #    candidate        g_t = tanh(W_g x_t + U_g h_{t-1} + b_g)
    o_t = torch.sigmoid(o)  # output gate      o_t = σ(W_o x_t + U_o h_{t-1} + b_o)
    C_t = f_t * C + i_t * g_t  # cell state    C_t = f_t C_{t-1} + i_t g_t
    h_t = o_t * torch.tanh(C_t)  # the output  h_t = o_t tanh(C_t)
    return (h_t, C_t), (i_t, f_t, g_t, o_t)


class LSTMScratch(Scratch):
    """The LSTM of Hochreiter & Schmidhuber (1997) with the forget gate of Gers, Schmidhuber & Cummins (2000).

    Its outputs, states and gradients equal those of `torch.nn.LSTM` up to rounding. Parameter names and gate order
    (i, f, g, o) are the same, so `load_state_dict` transfers weights in both directions.
    """

    architecture = "lstm"
    parts = 2
    step = staticmethod(lstm_step)
    fused: ClassVar = FusedLSTM()
