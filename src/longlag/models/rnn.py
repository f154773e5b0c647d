"""The vanilla recurrent network (Elman 1990): `torch.nn.RNN`."""

from torch import nn

from longlag.models.recurrent import Recurrent
from longlag.models.rnn_scratch import FusedRNN


class RNN(Recurrent, nn.RNN):  # type: ignore[misc]  # a core returns its outputs alone
    """h_t = tanh(W x_t + b + U h_{t-1} + b'). The gradient over k steps is a product of k Jacobians and vanishes."""

    architecture = "rnn"
    fused = FusedRNN()
