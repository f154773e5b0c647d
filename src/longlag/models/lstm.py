"""Long short-term memory by PyTorch: `torch.nn.LSTM`, which runs on cuDNN on NVIDIA GPUs and on oneDNN on the CPU."""

from torch import nn

from longlag.models.kernels.fused_lstm import FusedLSTM
from longlag.models.recurrent import Recurrent


class LSTM(Recurrent, nn.LSTM):  # type: ignore[misc]  # a core returns its outputs alone
    """C_t = f_t C_{t-1} + i_t g_t: the gradient through the cell state is the product of the forget gates.

    `lstm_scratch.py` has the equations. With PyTorch's own initialisation f_t is about 1/2, and (1/2)^1000 = 9e-302:
    in spite of the gates, nothing is left of a gradient after 1000 steps. Chrono initialisation starts f_t near 1.
    """

    architecture = "lstm"
    fused = FusedLSTM()
