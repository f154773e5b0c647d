"""The vanilla recurrent network (Elman 1990): `torch.nn.RNN`."""

from typing import ClassVar

from torch import nn

from longlag.models.recurrent import Recurrent
from longlag.models.rnn_scratch import FusedReLU, FusedRNN


class RNN(Recurrent, nn.RNN):  # type: ignore[misc]  # a core returns its outputs alone
    """h_t = tanh(W x_t + b + U h_{t-1} + b'). The gradient over k steps is a product of k Jacobians and vanishes."""

    architecture = "rnn"
    fused = FusedRNN()


class ReLURNN(Recurrent, nn.RNN):  # type: ignore[misc]
    """h_t = max(W x_t + b + U h_{t-1} + b', 0). With U = I at the start (`init=identity`) it is the IRNN.

    Le, Jaitly & Hinton (2015). They draw W from a normal distribution of standard deviation .001; here W is torch's.
    """

    architecture = "rnn"
    fused = FusedReLU()
    options: ClassVar = {"nonlinearity": "relu"}
