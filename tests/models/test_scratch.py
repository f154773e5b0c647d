"""The cells from scratch are torch's, in outputs, final states and every gradient, and so is each implementation."""

import subprocess
import sys
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from helpers.cells import CELLS, CLOSE, EXECUTIONS, STOCK, assert_same, everything, state_of
from helpers.command import compose
from longlag.assemble import make_network, make_task
from longlag.instantiate import OPTIMIZER, build
from longlag.measure.gradients import gradient_over_distance
from longlag.models.gru import GRU
from longlag.models.gru_scratch import GRUScratch
from longlag.models.kernels import bptt
from longlag.models.lstm import LSTM
from longlag.models.lstm_1997 import lstm_1997_step
from longlag.models.lstm_peephole import LSTMPeephole
from longlag.models.lstm_scratch import LSTMScratch
from longlag.models.network import Network
from longlag.models.rnn import RNN
from longlag.models.rnn_scratch import RNNScratch
from longlag.models.scratch import Scratch
from longlag.stream import Seeds
from longlag.tasks.copy import Copy

CORE = {LSTMScratch: LSTM, GRUScratch: GRU, RNNScratch: RNN}
every_cell = pytest.mark.parametrize("make", CELLS)
every_execution = pytest.mark.parametrize(("impl", "memory"), EXECUTIONS)


@pytest.fixture(autouse=True)
def _several_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of few steps, the last one shorter, so that a short sequence has several."""
    monkeypatch.setattr(bptt, "ROWS", 12)
    torch.manual_seed(0)


def pair(make: type[Scratch], layers: int, **options: str) -> tuple[nn.Module, Scratch]:
    """Torch's layer and ours, with its weights, in float64."""
    stock = STOCK[make](5, 7, layers, batch_first=True).double()
    ours = make(5, 7, layers, **options).double()
    ours.load_state_dict(stock.state_dict(), strict=True)
    return stock, ours


@every_execution
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize(("batch", "time"), [(1, 1), (3, 1), (1, 30), (3, 22)])
@pytest.mark.parametrize("make", STOCK)
def test_equals_torch(make, batch, time, layers, impl, memory):
    stock, ours = pair(make, layers, impl=impl, memory=memory)
    x, state = torch.randn(batch, time, 5).double(), state_of(stock, batch)
    assert_same(everything(ours, x, state), everything(stock, x, state), **CLOSE)


@every_execution
@pytest.mark.parametrize("make", STOCK)
def test_input_need_not_be_contiguous(make, impl, memory):
    stock, ours = pair(make, 1, impl=impl, memory=memory)
    x = torch.randn(5, 22, 6).double().permute(2, 1, 0)[::2]
    assert not x.is_contiguous()
    state = state_of(stock, 3)
    assert_same(everything(ours, x, state), everything(stock, x, state), **CLOSE)


@every_cell
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("memory", ["normal", "low"])
def test_fused_equals_reference(make, layers, memory):
    reference, fused = make(5, 7, layers, impl="reference").double(), make(5, 7, layers, memory=memory).double()
    fused.load_state_dict(reference.state_dict())
    x, state = torch.randn(3, 22, 5).double(), state_of(reference, 3)
    assert_same(everything(fused, x, state), everything(reference, x, state), **CLOSE)


@every_cell
@every_execution
def test_gradcheck(make, impl, memory, monkeypatch):
    monkeypatch.setattr(bptt, "ROWS", 2)
    core = make(1, 2, impl=impl, memory=memory).double()
    x, state = torch.randn(1, 5, 1).double().requires_grad_(), [part.requires_grad_() for part in state_of(core, 1)]

    def outputs(*_: Tensor) -> tuple[Tensor, ...]:
        found, end = core.unroll(x, tuple(state) if core.parts > 1 else state[0])
        return found, *([end] if isinstance(end, Tensor) else end)

    assert torch.autograd.gradcheck(outputs, [x, *state, *core.parameters()])  # which perturbs them in place


@pytest.mark.parametrize("make", STOCK)
@pytest.mark.parametrize("memory", ["normal", "low"])
def test_float32_over_a_long_sequence(make, memory, monkeypatch):
    monkeypatch.setattr(bptt, "ROWS", 1024)
    stock, ours = STOCK[make](5, 16, batch_first=True), make(5, 16, memory=memory)
    ours.load_state_dict(stock.state_dict())
    x, state = torch.randn(4, 1020, 5), state_of(stock, 4)
    found, expected = everything(ours, x, state), everything(stock, x, state)
    for name, value in expected.items():
        assert (found[name] - value).norm() <= 1e-5 * value.norm(), name


@every_cell
@pytest.mark.parametrize("memory", ["normal", "low"])
def test_a_graph_that_is_kept_gives_its_gradient_again(make, memory):
    core, x = make(2, 3, memory=memory), torch.randn(2, 20, 2, requires_grad=True)
    loss = core(x).square().sum()
    one, other = (torch.autograd.grad(loss, [x, *core.parameters()], retain_graph=True) for _ in range(2))
    assert all(map(torch.equal, one, other))


def test_lstm_1997_squashes_as_the_paper_writes_it():
    Wx_t, h, C = (torch.randn(4, width).double() for width in (9, 3, 3))
    U, b = torch.randn(9, 3).double(), torch.randn(9).double()
    i, g, o = (torch.sigmoid(part) for part in (Wx_t + h @ U.T + b).chunk(3, dim=1))
    C_t = C + i * (4 * g - 2)
    (found_h, found_C), _ = lstm_1997_step(Wx_t, h, C, U, b)
    torch.testing.assert_close(found_C, C_t, **CLOSE)
    torch.testing.assert_close(found_h, o * (2 * torch.sigmoid(C_t) - 1), **CLOSE)


def test_outputs_that_were_written_over_are_noticed():
    core, x = LSTMScratch(2, 3), torch.randn(2, 20, 2)
    outputs = core(x)
    with pytest.raises(RuntimeError, match=r"in-?place"):
        outputs.mul_(2).sum().backward()


@every_cell
@every_execution
def test_weights_alone_may_want_a_gradient(make, impl, memory):
    core = make(2, 3, impl=impl, memory=memory)
    core.weight_ih_l0.requires_grad_(False)
    core(torch.randn(2, 20, 2)).sum().backward()
    assert core.weight_ih_l0.grad is None
    assert core.weight_hh_l0.grad.isfinite().all()


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match=r"model\.impl must be one of auto, native, fused, reference, got fussed"):
        LSTMScratch(2, 3, impl="fussed")
    with pytest.raises(ValueError, match=r"model\.memory must be one of normal, low, got none"):
        LSTMScratch(2, 3, memory="none")


@every_cell
def test_dropout_acts_in_training_alone_and_between_the_layers(make):
    core, plain = make(5, 7, num_layers=2, dropout=0.5), make(5, 7, num_layers=2)
    plain.load_state_dict(core.state_dict())
    x = torch.randn(2, 10, 5)
    assert not torch.equal(core(x), core(x))
    assert torch.equal(core.eval()(x), plain(x))
    with pytest.raises(ValueError, match="num_layers of at least 2"):
        make(5, 7, num_layers=1, dropout=0.1)


def test_dropout_draws_as_torch_does():
    stock, ours = nn.LSTM(5, 7, 2, batch_first=True, dropout=0.5), LSTMScratch(5, 7, 2, dropout=0.5)
    ours.load_state_dict(stock.state_dict())
    x = torch.randn(1, 10, 5)
    torch.manual_seed(0)
    expected = stock(x)[0]
    torch.manual_seed(0)
    torch.testing.assert_close(ours(x), expected)


def test_peepholes_start_closed_unless_as_torch():
    assert LSTMPeephole(2, 3).weight_ch_l0.all()
    assert not LSTMPeephole(2, 3, init="chrono").weight_ch_l0.any()


@every_cell
def test_low_memory_grows_as_the_square_root_of_time(make, monkeypatch):
    monkeypatch.setattr(bptt, "ROWS", 1)
    few, many = (kept(make(2, 4, memory="low"), time) for time in (300, 16 * 300))
    assert many <= 4.5 * few


def kept(core: Scratch, time: int) -> int:
    """How many numbers wait for the way back, beyond x and the outputs."""
    found: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        found[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes() // 4
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        outputs = core(torch.randn(1, time, 2))
    assert outputs.requires_grad
    return sum(found.values()) - time * (2 + 4)


@pytest.mark.parametrize("memory", ["normal", "low"])
@pytest.mark.parametrize("make", [LSTMScratch, GRUScratch, RNNScratch])
def test_gradient_over_distance_is_that_of_torchs_layer(make, memory):
    """In float64 and in pieces: the probe unrolls from state to state."""
    task = Copy(lag=40)
    stock = Network(task, partial(CORE[make], hidden_size=8))
    ours = Network(task, partial(make, hidden_size=8, memory=memory))
    ours.load_state_dict(stock.state_dict())
    batch = task.batch(4, Seeds(0).generator("val", task.lag, 0))
    expected, found = (gradient_over_distance(network, task, batch, step=0) for network in (stock, ours))
    assert found.norms == pytest.approx(expected.norms, abs=1e-6)
    assert found.states == pytest.approx(expected.states, abs=1e-6)


LONG = """
import torch
from longlag.measure.cost import peak_memory_bytes
from longlag.models.lstm_scratch import LSTMScratch
torch.set_num_threads(1)
core, x = LSTMScratch(18, 64, memory="low"), torch.randn(8, 100_001, 18)
core(x)[:, -1].square().sum().backward()
print(peak_memory_bytes(torch.device("cpu")))
"""


@pytest.mark.slow
def test_a_lag_of_100_000_fits_in_two_gigabytes():
    done = subprocess.run([sys.executable, "-c", LONG], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 2 * 10**9


@pytest.mark.slow
@pytest.mark.parametrize("memory", ["normal", "low"])
@pytest.mark.parametrize(("dtype", "lr", "steps"), [(torch.float64, 0.02, 100), (torch.float32, 0.005, 80)])
def test_same_training_curve_as_torch(dtype, lr, steps, memory):
    """In float32 two curves part by rounding alone, sooner with a larger lr, as the reference does from torch's."""
    stock = losses(f"lr={lr}", "model=lstm", dtype=dtype, steps=steps)
    ours = losses(f"lr={lr}", "model=lstm_scratch", f"model.memory={memory}", dtype=dtype, steps=steps)
    assert stock[-1] < 2.0 < stock[0]
    assert ours == pytest.approx(stock, rel=0, abs=1e-3)


def losses(*overrides: str, dtype: torch.dtype, steps: int) -> list[float]:
    """Of the first steps at lag 100."""
    cfg = compose("lag=100", "model.init=chrono", *overrides)
    task = make_task(cfg)
    torch.manual_seed(0)
    network = make_network(cfg, task).to(dtype)
    optimizer = build(cfg.optimizer, OPTIMIZER)(network.parameters())
    found = []
    for step in range(steps):
        batch = task.batch(32, Seeds(0).generator("train", task.lag, step))
        loss = task.measure(network(batch.inputs, batch.steps), batch)["loss"].mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), cfg.trainer.gradient_clip_val)
        optimizer.step()
        found.append(loss.item())
    return found
