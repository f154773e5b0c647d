"""The LSTM from scratch is torch.nn.LSTM, in outputs and in every gradient."""

import pytest
import torch
from torch import nn

from longlag.models.lstm_scratch import LSTMScratch, lstm_step

CLOSE = {"rtol": 0.0, "atol": 1e-10}


def both(layers: int) -> tuple[nn.LSTM, LSTMScratch]:
    torch.manual_seed(layers)
    stock = nn.LSTM(5, 7, layers, batch_first=True).double()
    ours = LSTMScratch(5, 7, layers).double()
    ours.load_state_dict(stock.state_dict(), strict=True)
    return stock, ours


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("time", [1, 20])
@pytest.mark.parametrize("batch", [1, 3])
def test_equals_torch(layers, time, batch):
    stock, ours = both(layers)
    x = torch.randn(batch, time, 5, dtype=torch.float64)
    weights = torch.randn(batch, time, 7, dtype=torch.float64)
    one, other = x.clone().requires_grad_(), x.clone().requires_grad_()
    theirs, mine = stock(one)[0], ours(other)
    torch.testing.assert_close(mine, theirs, **CLOSE)
    (theirs * weights).sum().backward()
    (mine * weights).sum().backward()
    torch.testing.assert_close(other.grad, one.grad, **CLOSE)
    gradients = {name: parameter.grad for name, parameter in ours.named_parameters()}
    assert len(gradients) == 4 * layers
    for name, parameter in stock.named_parameters():
        torch.testing.assert_close(gradients[name], parameter.grad, **CLOSE, msg=name)


@pytest.mark.parametrize("layers", [1, 2])
def test_weights_move_to_torch(layers):
    ours = LSTMScratch(5, 7, layers)
    stock = nn.LSTM(5, 7, layers, batch_first=True)
    stock.load_state_dict(ours.state_dict(), strict=True)
    x = torch.randn(2, 10, 5)
    torch.testing.assert_close(ours(x), stock(x)[0])


def test_dropout_needs_two_layers():
    with pytest.raises(ValueError, match="num_layers of at least 2"):
        LSTMScratch(5, 7, num_layers=1, dropout=0.1)


def test_dropout_acts_in_training_alone():
    core = LSTMScratch(5, 7, num_layers=2, dropout=0.5)
    plain = LSTMScratch(5, 7, num_layers=2)
    plain.load_state_dict(core.state_dict())
    x = torch.randn(2, 10, 5)
    assert not torch.equal(core(x), core(x))
    assert torch.equal(core.eval()(x), plain(x))


def test_dropout_stands_between_the_layers():
    stock = nn.LSTM(5, 7, 2, batch_first=True, dropout=0.5)
    ours = LSTMScratch(5, 7, 2, dropout=0.5)
    ours.load_state_dict(stock.state_dict())
    x = torch.randn(1, 10, 5)
    torch.manual_seed(0)
    expected = stock(x)[0]
    torch.manual_seed(0)
    torch.testing.assert_close(ours(x), expected)


def test_gradient_of_a_step():
    torch.manual_seed(0)
    sizes = (2, 12), (2, 3), (2, 3), (12, 3)
    arguments = [torch.randn(size, dtype=torch.float64, requires_grad=True) for size in sizes]
    assert torch.autograd.gradcheck(lstm_step, arguments)
