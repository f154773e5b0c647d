"""The LSTM and its gradient written by hand in NumPy: each line of code has its equation beside it.

σ is the logistic function, ⊙ the elementwise product. A vector is a row and a batch of vectors is a matrix, so W x is
written `x @ W.T`. The rows of W, U and b belong to the gates i, f, g, o in this order, as in `torch.nn.LSTM`.

One step forward (Hochreiter & Schmidhuber 1997, with the forget gate of Gers, Schmidhuber & Cummins 2000)::

    f_t = σ(W_f x_t + U_f h_{t-1} + b_f)        forget gate: what the cell state keeps
    i_t = σ(W_i x_t + U_i h_{t-1} + b_i)        input gate: what is added to it
    g_t = tanh(W_g x_t + U_g h_{t-1} + b_g)     the candidate
    C_t = f_t ⊙ C_{t-1} + i_t ⊙ g_t             cell state: a sum, so that its gradient is a product of f_t alone
    o_t = σ(W_o x_t + U_o h_{t-1} + b_o)        output gate: what is visible outside
    h_t = o_t ⊙ tanh(C_t)                       the output

In the backward pass dy stands for dL/dy, σ' = σ (1 - σ) and tanh' = 1 - tanh².
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Weights(NamedTuple):
    """The weights of one layer, or their gradients: W (4 hidden, input), U (4 hidden, hidden), b (4 hidden)."""

    W: Array
    U: Array
    b: Array


class Step(NamedTuple):
    """The values of one step that its backward pass needs: x (batch, input), all others (batch, hidden)."""

    x: Array
    h_before: Array
    C_before: Array
    i: Array
    f: Array
    g: Array
    o: Array
    C: Array


def sigmoid(z: Array) -> Array:
    """σ(z) = 1 / (1 + e^{-z}), computed through tanh, which cannot overflow."""
    return 0.5 * (1.0 + np.tanh(0.5 * z))


def step_forward(x: Array, h: Array, C: Array, weights: Weights) -> tuple[Array, Array, Step]:
    """x_t (batch, input), h_{t-1} and C_{t-1} (batch, hidden) -> h_t, C_t, and the values for the backward pass."""
    W, U, b = weights
    z_i, z_f, z_g, z_o = np.split(x @ W.T + h @ U.T + b, 4, axis=1)  # z = W x_t + U h_{t-1} + b
    f_t = sigmoid(z_f)  #            f_t = σ(z_f)
    i_t = sigmoid(z_i)  #            i_t = σ(z_i)
    g_t = np.tanh(z_g)  #            g_t = tanh(z_g)
    C_t = f_t * C + i_t * g_t  #     C_t = f_t ⊙ C_{t-1} + i_t ⊙ g_t
    o_t = sigmoid(z_o)  #            o_t = σ(z_o)
    h_t = o_t * np.tanh(C_t)  #      h_t = o_t ⊙ tanh(C_t)
    return h_t, C_t, Step(x, h, C, i_t, f_t, g_t, o_t, C_t)


def step_backward(dh: Array, dC: Array, step: Step, U: Array) -> tuple[Array, Array, Array]:
    """One step back in time, by the chain rule.

    Args:
        dh: (batch, hidden) dL/dh_t, the sum of the contributions of the outputs and of step t+1.
        dC: (batch, hidden) dL/dC_t, the contribution of step t+1 only.
        step: the values that `step_forward` returned.
        U: (4 hidden, hidden) the recurrent weights.

    Returns:
        dL/dz_t (batch, 4 hidden), dL/dh_{t-1} and dL/dC_{t-1} (batch, hidden).
    """
    _, _, C_before, i, f, g, o, C = step
    tanh_C = np.tanh(C)
    do = dh * tanh_C  #                          h_t = o_t ⊙ tanh(C_t):            do = dh ⊙ tanh(C_t)
    dC = dC + dh * o * (1 - tanh_C**2)  #                                         dC += dh ⊙ o_t ⊙ (1 - tanh²(C_t))
    df = dC * C_before  #                        C_t = f_t ⊙ C_{t-1} + i_t ⊙ g_t:  df = dC ⊙ C_{t-1}
    di = dC * g  #                                                                di = dC ⊙ g_t
    dg = dC * i  #                                                                dg = dC ⊙ i_t
    dC_before = dC * f  #                                                         dC_{t-1} = dC ⊙ f_t
    dz_i = di * i * (1 - i)  #                   i_t = σ(z_i):                     dz_i = di ⊙ i_t ⊙ (1 - i_t)
    dz_f = df * f * (1 - f)  #                   f_t = σ(z_f):                     dz_f = df ⊙ f_t ⊙ (1 - f_t)
    dz_g = dg * (1 - g**2)  #                    g_t = tanh(z_g):                  dz_g = dg ⊙ (1 - g_t²)
    dz_o = do * o * (1 - o)  #                   o_t = σ(z_o):                     dz_o = do ⊙ o_t ⊙ (1 - o_t)
    dz = np.concatenate([dz_i, dz_f, dz_g, dz_o], axis=1)
    return dz, dz @ U, dC_before  #              z_t = W x_t + U h_{t-1} + b:      dh_{t-1} = Uᵀ dz


def forward(x: Array, h: Array, C: Array, weights: Weights) -> tuple[Array, Array, Array, list[Step]]:
    """Run a sequence x (batch, time, input) from h_0, C_0 -> outputs (batch, time, hidden), h_T, C_T and the steps."""
    steps, outputs = [], []
    for t in range(x.shape[1]):
        h, C, step = step_forward(x[:, t], h, C, weights)
        steps.append(step)
        outputs.append(h)
    return np.stack(outputs, axis=1), h, C, steps


def backward(
    doutputs: Array, dh: Array, dC: Array, steps: list[Step], weights: Weights
) -> tuple[Array, Array, Array, Weights]:
    """Backpropagation through time.

    Args:
        doutputs: (batch, time, hidden) dL/dh_t through the outputs.
        dh, dC: (batch, hidden) dL/dh_T and dL/dC_T through the final state.
        steps: the values that `forward` returned.
        weights: the weights of the layer.

    Returns:
        dL/dx (batch, time, input), dL/dh_0 and dL/dC_0 (batch, hidden), and the gradients of the weights.
    """
    dW, dU, db = (np.zeros_like(weight) for weight in weights)
    dx = []
    for t in reversed(range(len(steps))):
        dz, dh, dC = step_backward(doutputs[:, t] + dh, dC, steps[t], weights.U)
        dx.append(dz @ weights.W)  #       z_t = W x_t + U h_{t-1} + b:    dx_t = Wᵀ dz_t
        dW += dz.T @ steps[t].x  #                                         dW = Σ_t dz_t x_tᵀ
        dU += dz.T @ steps[t].h_before  #                                  dU = Σ_t dz_t h_{t-1}ᵀ
        db += dz.sum(axis=0)  #                                            db = Σ_t dz_t
    return np.stack(dx[::-1], axis=1), dh, dC, Weights(dW, dU, db)
