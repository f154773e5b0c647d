"""The encoder: one-hot up to 128 symbols; above that vectors, learned or fixed, and which of them a run gets."""

import pytest
import torch
from torch import Tensor

import longlag
from helpers.command import compose
from longlag import instantiate, settings
from longlag.assemble import make_network, make_task
from longlag.models.match_parameters import count
from longlag.models.network import EMBEDDING, Network
from longlag.records import config_hash
from longlag.settings import plain

MANY = ("model=lstm", "task=long_lag_1997", "lag=200")  # 203 symbols
FIXED = "embedding=fixed"


def made(*overrides: str) -> Network:
    """The network of these settings, with the initial weights that a run would give it."""
    cfg = compose(*overrides)
    settings.check(cfg)
    torch.manual_seed(cfg.seed)
    return make_network(cfg, make_task(cfg))


def vectors(*overrides: str) -> Tensor:
    """The vectors of the first 203 symbols."""
    return made(*MANY, *overrides).encoder(torch.arange(203)).detach()


@pytest.mark.parametrize(
    ("overrides", "kind", "parameters"),
    [
        ((), "learned embedding", 203 * EMBEDDING),
        (("embedding=learned",), "learned embedding", 203 * EMBEDDING),
        ((FIXED,), "fixed embedding", 0),
        (("budget.core_parameters=16000",), "fixed embedding", 0),
        (("budget.core_parameters=16000", "embedding=learned"), "learned embedding", 203 * EMBEDDING),
        (("budget.parameters=50000",), "learned embedding", 203 * EMBEDDING),
    ],
)
def test_which_one_a_large_vocabulary_gets(overrides: tuple[str, ...], kind: str, parameters: int):
    encoder = made(*MANY, *overrides).encoder
    assert (encoder.kind, encoder.size, count(encoder)) == (kind, EMBEDDING, parameters)


@pytest.mark.parametrize(("task", "kind"), [("copy", "one-hot"), ("adding", "values"), ("text", "one-hot")])
@pytest.mark.parametrize("embedding", ["null", "fixed", "learned"])
def test_small_vocabularies_and_values_are_read_without_parameters(task: str, kind: str, embedding: str):
    encoder = made("model=lstm", f"task={task}", f"embedding={embedding}").encoder
    assert (encoder.kind, count(encoder)) == (kind, 0)


def test_the_fixed_vectors_are_random_directions_of_length_1():
    drawn = vectors(FIXED)
    assert torch.allclose(drawn.norm(dim=1), torch.ones(203), atol=1e-6)
    assert (drawn @ drawn.T - torch.eye(203)).abs().max() < 0.8
    assert torch.equal(drawn, vectors(FIXED))


def test_all_models_of_one_seed_read_the_same_vectors():
    assert torch.equal(vectors(FIXED), vectors(FIXED, "model=gru"))
    assert not torch.equal(vectors(FIXED), vectors(FIXED, "seed=1"))


def test_drawing_them_leaves_the_initial_weights_of_core_and_head_alone():
    fixed = made(*MANY, FIXED)
    torch.manual_seed(0)
    alone = instantiate.build(compose(*MANY).model, instantiate.CORE, input_size=EMBEDDING)
    assert all(map(torch.equal, fixed.core.parameters(), alone.parameters()))


def test_training_and_loading_keep_them(run_small):
    folder, record = run_small(*MANY, FIXED)
    assert record["cost"]["encoder"] == "fixed embedding"
    network, _, _ = longlag.load(folder)
    assert torch.equal(network.encoder(torch.arange(203)), vectors(FIXED))


def test_a_word_that_is_none():
    with pytest.raises(ValueError, match=r"^embedding must be one of fixed, learned or null, got tied$"):
        made(*MANY, "embedding=tied")


def test_stored_runs_stay_what_they_are():
    settings_now = plain(compose(*MANY))
    before = {key: value for key, value in settings_now.items() if key != "embedding"}
    before["budget"] = {key: value for key, value in before["budget"].items() if key != "core_parameters"}
    assert settings_now.keys() - before.keys() == {"embedding"}
    assert config_hash(settings_now) == config_hash(before)
    assert config_hash(plain(compose(*MANY, FIXED))) != config_hash(before)
