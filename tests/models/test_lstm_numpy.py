"""The LSTM in NumPy: its hand-derived gradient is autograd's, and its numbers are torch's."""

import numpy as np
import torch
from torch import nn

from longlag.models import lstm_numpy


def test_numpy_backward_equals_autograd():
    torch.manual_seed(0)
    stock = nn.LSTM(5, 7, batch_first=True).double()
    x, weights = torch.randn(3, 20, 5).double(), torch.randn(3, 20, 7).double()
    state, of_state = torch.randn(2, 3, 7).double(), torch.randn(2, 3, 7).double()
    inputs = [tensor.requires_grad_() for tensor in (x, state)]
    outputs, (h, C) = stock(x, (state[:1], state[1:]))
    loss = (outputs * weights).sum() + (torch.cat([h, C]) * of_state).sum()
    expected = [gradient.numpy() for gradient in torch.autograd.grad(loss, [*inputs, *stock.parameters()])]

    W, U, b_ih, b_hh = (parameter.detach().numpy() for parameter in stock.parameters())
    ours = lstm_numpy.Weights(W, U, b_ih + b_hh)
    mine, h_T, C_T, steps = lstm_numpy.forward(x.detach().numpy(), *state.detach().numpy(), ours)
    dx, dh, dC, (dW, dU, db) = lstm_numpy.backward(weights.numpy(), *of_state.numpy(), steps, ours)

    found = [mine, h_T, C_T, dx, np.stack([dh, dC]), dW, dU, db, db]
    for one, other in zip(found, [outputs, h[0], C[0], *expected], strict=True):
        np.testing.assert_allclose(one, other if isinstance(other, np.ndarray) else other.detach(), rtol=0, atol=1e-10)
