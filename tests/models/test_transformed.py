"""A fused cell asked for more than one gradient: it refuses, or runs its equations. It never leaves a term out."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.autograd.functional import hessian, hvp, jacobian, vhp
from torch.func import functional_call
from torch.fx.experimental.proxy_tensor import make_fx

from helpers.cells import CELLS, EXECUTIONS, state_of
from longlag.models.gru_scratch import GRUScratch
from longlag.models.scratch import Scratch

pytestmark = [
    pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated"),  # torch's own forward mode uses it
    pytest.mark.filterwarnings("ignore:Using backward.. with create_graph=True"),  # which a test does
]
every_cell = pytest.mark.parametrize("make", CELLS)
X = torch.randn(2, 4, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def made(make: type[Scratch], impl: str = "fused", memory: str = "normal") -> Scratch:
    torch.manual_seed(0)
    return make(2, 3, num_layers=2, impl=impl, memory=memory).double()


def linear(outputs: Tensor) -> Tensor:
    """A loss whose gradient is a constant."""
    return outputs.sum()


def square(outputs: Tensor) -> Tensor:
    return outputs.square().sum()


def gradient(core: Scratch, loss: Callable[[Tensor], Tensor], by: str) -> tuple[Tensor, dict[str, Tensor]]:
    """The squared gradient by one of the sources, as a gradient penalty has it, and all sources."""
    x, state = X.clone().requires_grad_(), [part.requires_grad_() for part in state_of(core, 2)]
    outputs, _ = core.unroll(x, tuple(state) if len(state) > 1 else state[0])
    sources = {"x": x, "h": state[0], "C": state[-1]} | dict(core.named_parameters())
    (found,) = torch.autograd.grad(loss(outputs), sources[by], create_graph=True)
    return found.square().sum(), sources


def penalty(core: Scratch, loss: Callable[[Tensor], Tensor], by: str) -> None:
    gradient(core, loss, by)[0].backward()


def penalty_by_one(core: Scratch, loss: Callable[[Tensor], Tensor], by: str, wanted: str) -> None:
    """Only one of the sources is asked for; the other term hangs on it without the cell."""
    found, sources = gradient(core, loss, by)
    torch.autograd.grad(found + sources[wanted].sum(), sources[wanted])


def backward_with_a_graph(core: Scratch) -> None:
    linear(core(X)).backward(create_graph=True)
    core.weight_hh_l0.grad.square().sum().backward()


def several_gradients(core: Scratch, of: int) -> None:
    """Of the outputs, or of a part of the state alone."""
    x = X.clone().requires_grad_()
    outputs, end = core.unroll(x)
    given = (outputs, *([end] if isinstance(end, Tensor) else end))[of]
    torch.autograd.grad(given, x, torch.ones(3, *given.shape, dtype=x.dtype), is_grads_batched=True)


def several_by_vmap(core: Scratch) -> None:
    x = X.clone().requires_grad_()
    outputs = core(x)
    back = partial(torch.autograd.grad, outputs, x, retain_graph=True)
    torch.func.vmap(lambda incoming: back(incoming)[0])(torch.ones(3, *outputs.shape, dtype=x.dtype))


def forward_mode(core: Scratch) -> None:
    with forward_ad.dual_level():
        assert forward_ad.unpack_dual(core(forward_ad.make_dual(X, X))).tangent is not None


REFUSED = {
    **{
        f"penalty on {loss.__name__} by {by}": partial(penalty, loss=loss, by=by)
        for loss in (linear, square)
        for by in ("x", "h", "weight_ih_l0", "weight_hh_l1", "bias_ih_l0", "bias_hh_l1")
    },
    **{
        f"penalty on {loss.__name__} by {by}, for {wanted} alone": partial(
            penalty_by_one, loss=loss, by=by, wanted=wanted
        )
        for loss in (linear, square)
        for by in ("x", "weight_hh_l0")
        for wanted in ("x", "C", "weight_ih_l0", "weight_hh_l1", "bias_hh_l0")
    },
    "backward with a graph": backward_with_a_graph,
    "hessian": lambda core: hessian(lambda x: square(core(x)), X),
    "hessian of a linear loss": lambda core: hessian(lambda x: linear(core(x)), X),
    "hessian in one go": lambda core: hessian(lambda x: linear(core(x)), X, vectorize=True),
    "hvp": lambda core: hvp(lambda x: linear(core(x)), X, X),
    "vhp": lambda core: vhp(lambda x: linear(core(x)), X, X),
    "jacobian in one go": lambda core: jacobian(core, X, vectorize=True),
    "several gradients of the outputs": partial(several_gradients, of=0),
    "several gradients of the state": partial(several_gradients, of=-1),
    "several by vmap": several_by_vmap,
    "forward mode": forward_mode,
}


@every_cell
@pytest.mark.usefixtures("kernels_in_double")
@pytest.mark.parametrize("ask", REFUSED)
def test_refused_and_the_reference_named(make, ask):
    REFUSED[ask](made(make, "reference"))
    for impl, memory in EXECUTIONS[1:]:
        core = made(make, impl, memory)
        assert core.ran == impl
        with pytest.raises(RuntimeError, match=r"a fused loop cannot .*: make the core with impl=reference"):
            REFUSED[ask](core)


def of_weights(core: Scratch, weights: dict[str, Tensor], x: Tensor) -> Tensor:
    return functional_call(core, weights, (x,)).square().sum()


def hessian_of_weights(core: Scratch) -> Tensor:
    weights = dict(core.named_parameters())
    return torch.func.hessian(lambda W: of_weights(core, weights | {"weight_hh_l0": W}, X))(core.weight_hh_l0)


def gradient_of_each_sequence(core: Scratch) -> dict[str, Tensor]:
    each = torch.func.grad(lambda weights, x: of_weights(core, weights, x[None]))
    return torch.func.vmap(each, (None, 0))(dict(core.named_parameters()), X)


def several_cores(core: Scratch) -> Tensor:
    weights = {name: torch.stack([value, 2 * value]) for name, value in core.named_parameters()}
    return torch.func.vmap(partial(of_weights, core), (0, None))(weights, X)


TRANSFORMED = {
    "vmap": lambda core: torch.func.vmap(core)(torch.stack([X, 2 * X])),
    "vmap of something else": lambda core: torch.func.vmap(lambda y: y * core(X).sum())(X),
    "grad": lambda core: torch.func.grad(lambda x: core(x).sum())(X),
    "grad by the weights": lambda core: torch.func.grad(partial(of_weights, core))(dict(core.named_parameters()), X),
    "gradient of each sequence": gradient_of_each_sequence,
    "several cores": several_cores,
    "jvp": lambda core: torch.func.jvp(core, (X,), (X,)),
    "vjp": lambda core: torch.func.vjp(core, X)[1](torch.ones(2, 4, 3, dtype=torch.float64)),
    "jacrev": lambda core: torch.func.jacrev(core)(X),
    "hessian": hessian_of_weights,
    "functional_call": lambda core: of_weights(core, {k: 2 * v for k, v in core.named_parameters()}, X),
}


@every_cell
@pytest.mark.usefixtures("kernels_in_double")
@pytest.mark.parametrize("impl", ["fused", "native"])
@pytest.mark.parametrize("transform", TRANSFORMED)
def test_transforms_run_the_equations(make, transform, impl):
    apply = TRANSFORMED[transform]
    torch.testing.assert_close(apply(made(make, impl)), apply(made(make, "reference")), rtol=0, atol=1e-10)


def twice(core: Scratch, x: Tensor, compiled: Callable[[Tensor], Tensor]) -> list[list[Tensor]]:
    """Outputs and gradients with and without the compiler."""
    outputs = [run(x) for run in (compiled, core)]
    return [[found, *torch.autograd.grad(found.square().sum(), [*core.parameters()])] for found in outputs]


@pytest.mark.filterwarnings("ignore")  # torch's, of its own parts
def test_a_compiled_cell_has_its_gradients():
    core = made(GRUScratch)
    torch.testing.assert_close(*twice(core, X, torch.compile(core, backend="aot_eager")), rtol=0, atol=1e-10)


@every_cell
@pytest.mark.usefixtures("kernels_in_double")
@pytest.mark.parametrize("impl", ["fused", "native"])
@pytest.mark.filterwarnings("ignore")  # torch.jit is deprecated
def test_what_is_recorded_is_not_bound_to_the_values_it_saw(make, impl):
    core, other = made(make, impl), 3 * X
    with torch.no_grad():
        for recorded in (torch.jit.trace(core, X, check_trace=False), make_fx(core)(X)):
            torch.testing.assert_close(recorded(other), core(other), rtol=0, atol=1e-10)
