"""Long short-term memory from scratch: the textbook's equations, a line each."""

import math

import torch
from torch import Tensor, nn

from longlag.models.initialisation import initialise
from longlag.models.recurrent import check_dropout


class LSTMScratch(nn.Module):
    """The LSTM of Hochreiter & Schmidhuber (1997) with the forget gate of Gers, Schmidhuber & Cummins (2000).

    The same numbers as `torch.nn.LSTM` to the last digits that floating point keeps, outputs and gradients, and the
    same parameter names and gate order (i, f, g, o), so that `load_state_dict` moves weights either way.

    Args:
        input_size: width of the input.
        hidden_size: units per layer.
        num_layers: layers, each reading the outputs of the one below.
        dropout: probability of dropping an output between layers; needs at least two.
        init: scheme of `models/initialisation.py`.
        t_max: longest time scale of chrono initialisation, in steps.

    Raises:
        ValueError: where the scheme does not fit an LSTM, or dropout has no layers to stand between.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int = 64,
        num_layers: int = 1,
        dropout: float = 0.0,
        init: str = "torch",
        t_max: float = 1000,
    ):
        super().__init__()
        check_dropout(dropout, num_layers)
        self.hidden_size, self.num_layers = hidden_size, num_layers
        self.between_layers = nn.Dropout(dropout)
        for layer in range(num_layers):
            width = input_size if layer == 0 else hidden_size
            self.register_parameter(f"weight_ih_l{layer}", nn.Parameter(torch.empty(4 * hidden_size, width)))
            self.register_parameter(f"weight_hh_l{layer}", nn.Parameter(torch.empty(4 * hidden_size, hidden_size)))
            self.register_parameter(f"bias_ih_l{layer}", nn.Parameter(torch.empty(4 * hidden_size)))
            self.register_parameter(f"bias_hh_l{layer}", nn.Parameter(torch.empty(4 * hidden_size)))
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -1 / math.sqrt(hidden_size), 1 / math.sqrt(hidden_size))
        initialise(self, "lstm", init, t_max, num_layers)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, time, input_size) -> (batch, time, hidden_size), the top layer's h_t at every step."""
        return self.unroll(x)[0]

    def unroll(self, x: Tensor, state: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """The same from a state (h, C) on, zero by default, with the one it ends in; each (layers, batch, hidden_size).

        Never in half precision, where a forget gate of .999 would round to 1.
        """
        with torch.autocast(x.device.type, enabled=False):
            x = x.to(self.get_parameter("weight_hh_l0").dtype)
            h_0, C_0 = state or (x.new_zeros(self.num_layers, x.shape[0], self.hidden_size),) * 2
            ends = []
            for layer in range(self.num_layers):
                x, *end = self._over_time(self.between_layers(x) if layer else x, h_0[layer], C_0[layer], layer)
                ends.append(end)
        h, C = (torch.stack(part) for part in zip(*ends, strict=True))
        return x, (h, C)

    def _over_time(self, x: Tensor, h: Tensor, C: Tensor, layer: int) -> tuple[Tensor, Tensor, Tensor]:
        """One layer: (batch, time, width) -> (batch, time, hidden_size), from h and C (batch, hidden_size) on."""
        W, U, b_ih, b_hh = (
            self.get_parameter(f"{name}_l{layer}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        outputs = []
        for Wx_t in (x @ W.T + (b_ih + b_hh)).unbind(1):  # (batch, 4 hidden_size); unbind once: indexing is O(time^2)
            h, C = lstm_step(Wx_t, h, C, U)
            outputs.append(h)
        return torch.stack(outputs, dim=1), h, C


def lstm_step(Wx_t: Tensor, h: Tensor, C: Tensor, U: Tensor) -> tuple[Tensor, Tensor]:
    """One step of time.

    Args:
        Wx_t: (batch, 4 hidden_size) what the input gives the gates, W x_t + b.
        h: (batch, hidden_size) h_{t-1}.
        C: (batch, hidden_size) C_{t-1}.
        U: (4 hidden_size, hidden_size) the recurrent weights.

    Returns:
        h_t and C_t.
    """
    i, f, g, o = (Wx_t + h @ U.T).chunk(4, dim=-1)
    i_t = torch.sigmoid(i)  # input gate       i_t = σ(W_i x_t + U_i h_{t-1} + b_i)
    f_t = torch.sigmoid(f)  # forget gate      f_t = σ(W_f x_t + U_f h_{t-1} + b_f)
    g_t = torch.tanh(g)  #    candidate        g_t = tanh(W_g x_t + U_g h_{t-1} + b_g)
    o_t = torch.sigmoid(o)  # output gate      o_t = σ(W_o x_t + U_o h_{t-1} + b_o)
    C_t = f_t * C + i_t * g_t  # the cell      C_t = f_t C_{t-1} + i_t g_t
    h_t = o_t * torch.tanh(C_t)  # the output  h_t = o_t tanh(C_t)
    return h_t, C_t
