"""The gated recurrent unit (Cho et al. 2014): `torch.nn.GRU`."""

from torch import nn

from longlag.models.gru_scratch import FusedGRU
from longlag.models.recurrent import Recurrent


class GRU(Recurrent, nn.GRU):  # type: ignore[misc]  # a core returns its outputs alone
    """h_t = (1 - z_t) n_t + z_t h_{t-1}: in torch's convention z_t is the gate that keeps, like f_t of the LSTM."""

    architecture = "gru"
    fused = FusedGRU()
