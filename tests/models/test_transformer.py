"""The Transformer: what its positions tell it, how far it looks back, what it refuses."""

import pytest
import torch

from longlag.models.transformer import POSITIONS, Transformer, rotate


def one_block(positions: str) -> Transformer:
    torch.manual_seed(0)
    return Transformer(5, 16, num_layers=1, num_heads=2, positions=positions).double().eval()


@pytest.mark.parametrize("positions", POSITIONS)
def test_one_block_knows_the_order_by_positions_alone(positions):
    core = one_block(positions)
    x = torch.randn(2, 12, 5, dtype=torch.float64)
    shuffled = torch.cat([x[:, torch.randperm(11)], x[:, 11:]], dim=1)
    same = torch.allclose(core(shuffled)[:, -1], core(x)[:, -1], rtol=0, atol=1e-10)
    assert same == (positions == "none")


def test_rotary_scores_depend_on_the_distance_alone():
    torch.manual_seed(0)
    q, k = (rotate(torch.randn(1, 8, dtype=torch.float64).expand(20, 8)) for _ in range(2))
    scores = q @ k.T
    torch.testing.assert_close(scores[1:, 1:], scores[:-1, :-1], rtol=0, atol=1e-12)
    assert scores[-1].std() > 0.01


def test_rotation_keeps_the_length_and_the_first_step():
    x = torch.randn(2, 20, 8, dtype=torch.float64)
    torch.testing.assert_close(rotate(x).norm(dim=-1), x.norm(dim=-1))
    assert torch.equal(rotate(x)[:, 0], x[:, 0])


@pytest.mark.parametrize("positions", POSITIONS)
def test_gradient_reaches_the_first_step_from_afar(positions):
    core = one_block(positions)
    x = torch.randn(1, 501, 5, dtype=torch.float64, requires_grad=True)
    core(x)[0, 500, 0].backward()
    gradient = x.grad[0].norm(dim=-1)
    assert gradient[0] > 1e-3 * gradient[1:500].mean()
    assert gradient[0] > 0


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"hidden_size": 10, "num_heads": 4}, "hidden_size=10 is not divisible by model.num_heads=4"),
        ({"hidden_size": 8, "num_heads": 0}, "hidden_size=8 is not divisible by model.num_heads=0"),
        ({"hidden_size": 12, "num_heads": 4}, "rope .* even width, got 3"),
        ({"hidden_size": 9, "num_heads": 3, "positions": "sinusoidal"}, "sinusoidal .* even width, got 9"),
        ({"positions": "learned"}, "positions must be one of rope, sinusoidal, none, got learned"),
        ({"init": "chrono"}, "init=chrono does not fit the transformer; it takes torch"),
    ],
)
def test_refused(knobs, message):
    with pytest.raises(ValueError, match=message):
        Transformer(5, **knobs)


def test_odd_width_fits_without_positions():
    assert Transformer(5, hidden_size=9, num_heads=3, positions="none")(torch.randn(2, 4, 5)).shape == (2, 4, 9)
