"""A fair comparison: whatever the model, the training batches are the same, byte for byte."""

import hashlib

import pytest

from longlag.tasks.task import Batch
from longlag.training.learner import Learner


@pytest.mark.parametrize("more", [(), ("lag_mode=uniform",), ("task=adding", "lag=12"), ("task=text_fact", "lag=60")])
def test_two_models_see_identical_training_batches(run_small, tmp_path, monkeypatch: pytest.MonkeyPatch, more):
    seen: list[str] = []
    step = Learner.training_step

    def hashing(self: Learner, batch: Batch, index: int):
        digest = hashlib.sha256()
        for part in batch:
            digest.update(str((part.shape, part.dtype)).encode() + part.numpy().tobytes())
        seen.append(digest.hexdigest())
        return step(self, batch, index)

    monkeypatch.setattr(Learner, "training_step", hashing)
    run_small("model=lstm", *more, folder=tmp_path / "lstm")
    of_the_lstm, seen[:] = list(seen), []
    run_small("model=transformer", "lr=0.1", "model.dropout=0.5", *more, folder=tmp_path / "transformer")
    assert seen == of_the_lstm
    assert len(set(seen)) == 4
