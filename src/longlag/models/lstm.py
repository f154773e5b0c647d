"""Long short-term memory as PyTorch ships it: `torch.nn.LSTM`, which is cuDNN on NVIDIA and oneDNN on the CPU."""

from torch import nn

from longlag.models.recurrent import Recurrent


class LSTM(Recurrent, nn.LSTM):  # type: ignore[misc]  # a core returns its outputs alone
    """C_t = f_t C_{t-1} + i_t g_t: the gradient through the cell is the product of the forget gates.

    The equations, one by one, stand in `lstm_scratch.py`. With PyTorch's own initialisation f_t is about 1/2, and
    (1/2)^1000 = 1e-302: gates or not, nothing is left of a gradient after 1000 steps. Chrono starts them near 1.
    """

    architecture = "lstm"
