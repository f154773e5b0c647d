"""Torch's recurrent layers as cores: the same numbers as torch's, in full precision whatever the trainer asks for."""

import pytest
import torch
from torch import nn

from longlag.models.gru import GRU
from longlag.models.gru_scratch import GRUScratch
from longlag.models.lstm import LSTM
from longlag.models.lstm_1997 import LSTM1997
from longlag.models.lstm_peephole import LSTMPeephole
from longlag.models.lstm_scratch import LSTMScratch
from longlag.models.rnn import RNN
from longlag.models.rnn_scratch import RNNScratch

STOCK = {RNN: nn.RNN, LSTM: nn.LSTM, GRU: nn.GRU}


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("make", STOCK)
def test_core_is_torchs_layer(make, layers):
    core = make(5, 7, layers)
    stock = STOCK[make](5, 7, layers, batch_first=True)
    stock.load_state_dict(core.state_dict(), strict=True)
    x = torch.randn(3, 10, 5)
    assert torch.equal(core(x), stock(x)[0])


@pytest.mark.parametrize("make", [*STOCK, LSTMScratch, LSTM1997, LSTMPeephole, GRUScratch, RNNScratch])
def test_arithmetic_stays_in_float32(make):
    core, head = make(5, 64), nn.Linear(64, 8)
    x = torch.randn(3, 30, 5).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        hidden = core(x)
        assert head(hidden).dtype == torch.bfloat16
    assert hidden.dtype == torch.float32
    assert torch.equal(hidden, core(x.float()))


@pytest.mark.parametrize("make", STOCK)
def test_dropout_needs_two_layers(make):
    with pytest.raises(ValueError, match="num_layers of at least 2"):
        make(5, 7, num_layers=1, dropout=0.1)
