"""The linear scan is its recurrence, with its gradients: real and complex, in C and in torch."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad

from longlag.models.kernels import scan as module
from longlag.models.kernels.native import kernels
from longlag.models.kernels.scan import scan, scan_reference

DOUBLES, SINGLES = (torch.float64, torch.complex128), (torch.float32, torch.complex64)
BATCH, TIME, WIDTH = 3, 40, 21
OF_A = {  # a as the cores have it: of each step, of the unit alone, and between
    "each step": lambda a: a,
    "unit": lambda a: a[0, 0],
    "one step": lambda a: a[:1, :1],
    "batch": lambda a: a[:, :1],
    "time": lambda a: a[:1],
    "one number": lambda a: a[0, 0, 0],
    "strided": lambda a: a.permute(2, 0, 1).contiguous().permute(1, 2, 0),
}
every_a = pytest.mark.parametrize("of", OF_A)


def given(dtype: torch.dtype, of: str = "each step", time: int = TIME) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs; |a| is below 1, near it for some."""
    generator = torch.Generator().manual_seed(0)
    wide = torch.float64 if dtype in (torch.float64, torch.float32) else torch.complex128
    a, b = (torch.randn(BATCH, time, WIDTH, dtype=wide, generator=generator) for _ in range(2))
    a, h_0 = a / (a.abs() + 0.01), torch.randn(BATCH, WIDTH, dtype=wide, generator=generator)
    return OF_A[of](a).to(dtype).requires_grad_(), b.to(dtype).requires_grad_(), h_0.to(dtype).requires_grad_()


def everything(run: Callable[..., Tensor], a: Tensor, b: Tensor, h_0: Tensor) -> list[Tensor]:
    h = run(a, b, h_0)
    incoming = torch.randn(h.shape, dtype=torch.complex128, generator=torch.Generator().manual_seed(1))
    incoming = incoming.to(h.dtype) if h.is_complex() else incoming.real.to(h.dtype)
    return [h, *torch.autograd.grad(h, (a, b, h_0), incoming)]


@pytest.fixture(params=["native", "torch"])
def in_double(request: pytest.FixtureRequest) -> None:
    if request.param == "native":
        request.getfixturevalue("kernels_in_double")
        assert module.kernels() is not None


@every_a
@pytest.mark.usefixtures("in_double")
@pytest.mark.parametrize("dtype", DOUBLES)
@pytest.mark.parametrize("time", [1, 2, TIME])
def test_equals_the_recurrence(dtype, of, time):
    inputs = given(dtype, of, time)
    for found, expected in zip(everything(scan, *inputs), everything(scan_reference, *inputs), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


@every_a
@pytest.mark.usefixtures("in_double")
@pytest.mark.parametrize("dtype", DOUBLES)
def test_gradcheck(dtype, of):
    a, b, h_0 = given(dtype, of, time=4)
    assert torch.autograd.gradcheck(scan, (a, b, h_0))


@every_a
@pytest.mark.parametrize(("single", "double"), [*zip(SINGLES, DOUBLES, strict=True)])
def test_native_is_as_exact_as_the_recurrence(single, double, of):
    if kernels() is None:
        pytest.skip("there are no native kernels on this machine")
    inputs = given(single, of, time=1000)
    true = everything(scan_reference, *(tensor.detach().to(double).requires_grad_() for tensor in inputs))
    known = everything(scan_reference, *inputs)
    for found, usual, truth in zip(everything(scan, *inputs), known, true, strict=True):
        error, bound = ((values.to(double) - truth).norm() / truth.norm() for values in (found, usual))
        assert error <= 10 * max(bound, 4 * torch.finfo(torch.float32).eps)


@pytest.mark.usefixtures("in_double")
def test_a_conjugate_and_a_negative_are_read_as_such():
    a, b, h_0 = (tensor.detach() for tensor in given(torch.complex128))
    expected = scan(a.conj_physical(), b.conj_physical(), h_0.conj_physical())
    assert torch.equal(scan(a.conj(), b.conj(), h_0.conj()), expected)
    real = scan((-a.imag).contiguous(), b.real.contiguous(), h_0.real.contiguous())
    assert torch.equal(scan(a.conj().imag, b.real, h_0.real), real)


@pytest.mark.usefixtures("in_double")
def test_starts_from_zero():
    a, b, h_0 = given(torch.float64)
    assert torch.equal(scan(a, b), scan(a, b, torch.zeros_like(h_0)))


@pytest.mark.usefixtures("in_double")
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_out_of_range_spread_as_in_the_recurrence(value):
    a, b, h_0 = (tensor.detach().clone() for tensor in given(torch.float64))
    b[0, 3, 2] = value
    inputs = [tensor.requires_grad_() for tensor in (a, b, h_0)]
    for found, expected in zip(everything(scan, *inputs), everything(scan_reference, *inputs), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-10, equal_nan=True)


def penalty(a: Tensor, b: Tensor, h_0: Tensor) -> None:
    torch.autograd.grad(scan(a, b, h_0).sum(), a, create_graph=True)[0].sum().backward()


def several(a: Tensor, b: Tensor, h_0: Tensor) -> None:
    h = scan(a, b, h_0)
    torch.autograd.grad(h, a, torch.ones(3, *h.shape, dtype=h.dtype), is_grads_batched=True)


def forward_mode(a: Tensor, b: Tensor, h_0: Tensor) -> None:
    with forward_ad.dual_level():
        scan(forward_ad.make_dual(a.detach(), a.detach()), b, h_0)


@pytest.mark.usefixtures("in_double")
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # torch's own forward mode uses it
@pytest.mark.parametrize("ask", [penalty, several, forward_mode])
def test_what_it_cannot_do_is_refused(ask):
    with pytest.raises(RuntimeError, match=r"a fused loop cannot .*: make the core with impl=reference"):
        ask(*given(torch.float64))


@pytest.mark.usefixtures("in_double")
def test_transforms_run_the_recurrence():
    a, b, h_0 = (tensor.detach() for tensor in given(torch.float64))
    found, expected = (torch.func.jacrev(lambda h, run=run: run(a, b, h).sum(1))(h_0) for run in (scan, scan_reference))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("a", "b", "h_0", "said"),
    [
        ((21,), (3, 0, 21), None, "at least one step"),
        ((21,), (40, 21), None, r"b as \(batch, time, width\)"),
        ((20,), (3, 40, 21), None, "a that broadcasts to b"),
        ((3, 39, 21), (3, 40, 21), None, "a that broadcasts to b"),
        ((21,), (3, 40, 21), (21,), r"h_0 as \(batch, width\) = \(3, 21\), got \(21,\)"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(a, b, h_0, said):
    with pytest.raises(ValueError, match=said):
        scan(torch.ones(a), torch.ones(b), None if h_0 is None else torch.ones(h_0))


def test_other_types_are_refused():
    with pytest.raises(ValueError, match=r"one type, got torch\.complex64, torch\.float32 and torch\.float32"):
        scan(torch.ones(21, dtype=torch.complex64), torch.ones(3, 40, 21))
