"""Attention in C is torch's causal attention, with its gradients, for any shape and strides."""

import random

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import forward_ad

from longlag.models.kernels import attention, native
from longlag.models.kernels.attention import attend, can_attend
from longlag.models.transformer import POSITIONS, Transformer

ROUNDINGS = 4 * torch.finfo(torch.float32).eps
ATTENTION_IS_SMALL = pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 3, 37, 5), (1, 2, 70, 16), (2, 1, 33, 40)])


@pytest.fixture(autouse=True)
def _compiled() -> None:
    torch.manual_seed(0)
    if native.kernels() is None:
        pytest.skip("there are no native kernels on this machine")


@pytest.fixture
def _in_double(double_kernels, kernels_in_double, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "kernels", lambda: double_kernels)


def drawn(shape: tuple[int, ...], dtype: torch.dtype = torch.float32, scale: float = 1.0) -> list[Tensor]:
    """q, k, v and the gradient of the outputs."""
    return [(scale * torch.randn(shape, dtype=torch.float64)).to(dtype).requires_grad_() for _ in range(4)]


def reference(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)


def everything(run, q: Tensor, k: Tensor, v: Tensor, incoming: Tensor) -> list[Tensor]:
    out = run(q, k, v)
    return [out, *torch.autograd.grad(out, (q, k, v), incoming.detach().transpose(1, 2))]


@pytest.mark.usefixtures("_in_double")
@ATTENTION_IS_SMALL
def test_equals_torchs_in_double(shape):
    given = drawn(shape, torch.float64)
    for found, expected in zip(everything(attend, *given), everything(reference, *given), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@pytest.mark.usefixtures("_in_double")
def test_gradcheck():
    assert torch.autograd.gradcheck(attend, drawn((2, 2, 9, 3), torch.float64)[:3])


@pytest.mark.parametrize("scale", [1e-6, 1.0, 5.0])
@pytest.mark.parametrize("seed", range(12))
def test_is_as_exact_as_torchs(seed, scale):
    draw = random.Random(seed)
    shape = draw.randint(1, 5), draw.randint(1, 4), round(600 ** draw.random()), draw.randint(1, 70)
    given = drawn(shape, scale=scale)
    true = everything(reference, *(tensor.detach().double().requires_grad_() for tensor in given))
    usual = everything(reference, *given)
    for found, known, truth in zip(everything(attend, *given), usual, true, strict=True):
        error, bound = ((values.double() - truth).norm() for values in (found, known))
        assert error <= 10 * max(bound, ROUNDINGS * truth.norm()), shape


def test_any_strides():
    given = drawn((3, 2, 40, 6))
    expected = everything(attend, *given)
    for order in ((0, 2, 1, 3), (1, 3, 2, 0), (3, 0, 1, 2)):
        back = [order.index(d) for d in range(4)]
        moved = [each.detach().permute(order).contiguous().permute(back).requires_grad_() for each in given]
        assert all(map(torch.equal, everything(attend, *moved), expected))
    one = torch.ones(1).expand(3, 2, 40, 6)  # as from out.sum()
    expected = everything(attend, *given[:3], one.contiguous())
    assert all(map(torch.equal, everything(attend, *given[:3], one), expected))


def test_threads_share_the_heads(monkeypatch):
    given = drawn((3, 2, 50, 6))
    expected = everything(attend, *given)
    for threads in (2, 4, 50):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        assert all(map(torch.equal, everything(attend, *given), expected))


@pytest.mark.parametrize("shape", [(0, 2, 5, 3), (2, 2, 0, 3)])
def test_nothing_to_attend_to(shape):
    given = drawn(shape)
    assert [tuple(found.shape) for found in everything(attend, *given)][1:] == [shape] * 3


def test_later_steps_change_nothing_and_large_logits_are_no_trouble():
    q, k, v, _ = (tensor.detach() for tensor in drawn((1, 2, 60, 8)))
    whole = attend(100 * q, 100 * k, v)
    assert torch.isfinite(whole).all()
    torch.testing.assert_close(whole, reference(100 * q, 100 * k, v), rtol=1e-3, atol=1e-3)
    assert torch.equal(attend(*(100 * q[:, :, :29], 100 * k[:, :, :29], v[:, :, :29])), whole[:, :29])


@pytest.mark.parametrize("place", range(3))
def test_a_nan_reaches_its_own_and_later_steps(place):
    given = [tensor.detach().clone() for tensor in drawn((1, 1, 60, 8))]
    given[place][0, 0, 33, 2] = float("nan")
    out = attend(*given[:3])
    assert torch.isfinite(out[:, :32]).all()
    assert out[:, 33].isnan().any()


def test_nothing_is_kept_without_a_gradient():
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(kept.append, lambda tensor: tensor):
        attend(*(tensor.detach() for tensor in drawn((1, 2, 20, 8))[:3]))
    assert not kept


def penalty(q: Tensor, k: Tensor, v: Tensor) -> None:
    torch.autograd.grad(attend(q, k, v).sum(), q, create_graph=True)[0].sum().backward()


def several(q: Tensor, k: Tensor, v: Tensor) -> None:
    out = attend(q, k, v)
    torch.autograd.grad(out, q, torch.ones(3, *out.shape), is_grads_batched=True)


def forward_mode(q: Tensor, k: Tensor, v: Tensor) -> None:
    with forward_ad.dual_level():
        attend(forward_ad.make_dual(q.detach(), q.detach()), k, v)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # torch's own forward mode uses it
@pytest.mark.parametrize("ask", [penalty, several, forward_mode])
def test_what_it_cannot_do_is_refused(ask):
    with pytest.raises(RuntimeError, match=r"cannot .*`kernels`.* to library"):
        ask(*drawn((1, 2, 8, 4))[:3])


def pair(**options: object) -> tuple[Transformer, Transformer]:
    """The core by torch and by our kernel, with the same weights."""
    library, ours = (Transformer(5, 24, num_layers=2, num_heads=3, **options) for _ in range(2))
    ours.load_state_dict(library.state_dict(), strict=True)
    ours.kernels = "native"
    return library, ours


@pytest.mark.usefixtures("_in_double")
@pytest.mark.parametrize("positions", POSITIONS)
def test_the_transformer_computes_the_same_in_double(positions):
    found = []
    for core in pair(positions=positions):
        core.double()
        torch.manual_seed(1)
        x = torch.randn(3, 50, 5, dtype=torch.float64, requires_grad=True)
        out = core(x)
        assert core.ran == core.kernels
        found.append([out, *torch.autograd.grad((out * torch.randn_like(out)).sum(), [x, *core.parameters()])])
    for library, ours in zip(*found, strict=True):
        torch.testing.assert_close(ours, library, rtol=0, atol=1e-10)


def test_the_transformer_runs_natively_in_float32_on_the_cpu_and_by_torch_elsewhere():
    library, ours = pair()
    x = torch.randn(3, 50, 5)
    assert (library.ran, ours.ran) == ("library", "native")
    torch.testing.assert_close(ours(x), library(x))
    assert ours.ran == "native"
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(ours(x), library(x))
    assert ours.ran == "library"
    assert torch.equal(ours.double()(x.double()), library.double()(x.double()))
    assert not can_attend(x.double())
    with pytest.raises(ValueError, match="kernels must be one of library, native, fused, got own"):
        ours.kernels = "own"


@pytest.mark.filterwarnings("ignore:There is a performance drop")  # torch's attention under vmap
def test_transforms_run_torchs_attention():
    _, ours = pair()
    x = torch.randn(4, 9, 5)
    found = torch.func.vmap(lambda one: ours(one[None])[0])(x)
    torch.testing.assert_close(found, ours(x))
