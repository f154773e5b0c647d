"""A causal, pre-norm Transformer (Vaswani et al. 2017; pre-norm: Xiong et al. 2020)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from longlag.models.initialisation import check_scheme
from longlag.models.kernels.attention import attend, can_attend
from longlag.models.kernels.bptt import rewritten
from longlag.models.kernels.choice import Choice

POSITIONS = ("rope", "sinusoidal", "none")
BASE = 10_000.0  # base of the wavelengths, in both position codes


class Transformer(Choice, nn.Module):
    """Attends to every earlier step directly: a longer distance costs computing time but no gradient.

    Its `kernels` choose who computes the attention; see `kernels/choice.py`.

    Args:
        input_size: width of the input.
        hidden_size: width of the residual stream; divisible by `num_heads`.
        num_layers: number of blocks, each with attention and feed-forward.
        num_heads: attention heads per block.
        positions: `rope` (Su et al. 2021), `sinusoidal` (Vaswani et al. 2017) or `none`.
        dropout: dropout probability of each block's contribution to the residual stream.
        init: only `torch`.
        feed_forward_size: hidden units of the feed-forward network; None means 4 hidden_size.

    Raises:
        ValueError: if the sizes are not divisible as required, or `positions` or `init` is unknown.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int = 64,
        num_layers: int = 2,
        num_heads: int = 4,
        positions: str = "rope",
        dropout: float = 0.0,
        init: str = "torch",
        feed_forward_size: int | None = None,
    ):
        super().__init__()
        check_scheme("transformer", init)
        _check_sizes(hidden_size, num_heads, positions)
        self.hidden_size, self.positions = hidden_size, positions
        self.encoder = nn.Linear(input_size, hidden_size)
        inner = feed_forward_size or 4 * hidden_size
        self.blocks = nn.ModuleList(
            Block(hidden_size, num_heads, inner, dropout, rotary=positions == "rope") for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, time, input_size) -> (batch, time, hidden_size)."""
        x = self.encoder(x)
        if self.positions == "sinusoidal":
            x = x + torch.cat(_wave(x.shape[1], self.hidden_size, x), dim=-1)
        for block in self.blocks:
            x = block(x, self.kernels == "native")
        return self.norm(x)

    @property
    def ran(self) -> str:
        """Who computed the attention at the last call, which depends on its precision; before, who would compute it."""
        if ran := next(block.ran for block in self.blocks):
            return str(ran)
        return "native" if self.kernels == "native" and can_attend(*self.parameters()) else "library"


class Block(nn.Module):
    """x + attention(norm(x)), then x + feed-forward(norm(x))."""

    def __init__(self, hidden_size: int, num_heads: int, inner: int, dropout: float, rotary: bool):
        super().__init__()
        self.num_heads, self.rotary = num_heads, rotary
        self.norm_attention = nn.LayerNorm(hidden_size)
        self.qkv = nn.Linear(hidden_size, 3 * hidden_size)
        self.project = nn.Linear(hidden_size, hidden_size)
        self.norm_feed_forward = nn.LayerNorm(hidden_size)
        self.feed_forward = nn.Sequential(nn.Linear(hidden_size, inner), nn.GELU(), nn.Linear(inner, hidden_size))
        self.dropout = nn.Dropout(dropout)
        self.ran: str | None = None  # who computed the attention at the last call

    def forward(self, x: Tensor, native: bool = False) -> Tensor:
        """(batch, time, hidden_size) -> (batch, time, hidden_size); `native`: attention by our own kernel if it can."""
        x = x + self.dropout(self._attend(self.norm_attention(x), native))
        return x + self.dropout(self.feed_forward(self.norm_feed_forward(x)))

    def _attend(self, x: Tensor, native: bool) -> Tensor:
        heads = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        q, k, v = heads  # each (batch, heads, time, hidden_size / heads)
        if self.rotary:
            q, k = rotate(q), rotate(k)
        native = native and can_attend(q, k, v)
        if not rewritten():  # whoever transforms a module wants it to change nothing of itself
            self.ran = "native" if native else "library"
        mixed = attend(q, k, v) if native else F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)
        return self.project(mixed.flatten(2))  # from (batch, time, heads, hidden_size / heads)


def rotate(x: Tensor) -> Tensor:
    """Rotary positions: rotate each pair of features by an angle proportional to the time step; (…, time, features)."""
    sin, cos = _wave(x.shape[-2], x.shape[-1], x)
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)


def _wave(time: int, width: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """sin and cos of step / BASE^(2j / width), (time, width / 2) each, computed in at least float32."""
    dtype = torch.promote_types(like.dtype, torch.float32)
    step = torch.arange(time, device=like.device, dtype=dtype)
    frequency = BASE ** (-torch.arange(0, width, 2, device=like.device, dtype=dtype) / width)
    angle = torch.outer(step, frequency)
    return angle.sin().to(like.dtype), angle.cos().to(like.dtype)


def _check_sizes(hidden_size: int, num_heads: int, positions: str) -> None:
    if positions not in POSITIONS:
        raise ValueError(f"model.positions must be one of {', '.join(POSITIONS)}, got {positions}")
    if num_heads < 1 or hidden_size % num_heads:
        raise ValueError(f"model.hidden_size={hidden_size} is not divisible by model.num_heads={num_heads}")
    width = {"rope": hidden_size // num_heads, "sinusoidal": hidden_size, "none": 0}[positions]
    if width % 2:
        raise ValueError(f"model.positions={positions} turns features in pairs and needs an even width, got {width}")
