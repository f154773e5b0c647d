"""The recipe: what a run leaves behind, that it can be repeated, and how it ends when it cannot go on."""

import hashlib
import json
import math
import os
import signal
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import longlag
from helpers.results import repeatable, same, saved_weights
from longlag import records, run
from longlag.measure.lags import over_lags
from longlag.report.figures import GRADIENT, PICTURE
from longlag.stream import Seeds
from longlag.tasks.copy import Copy
from longlag.training import trainer
from longlag.training.callbacks import ProbeGradients
from longlag.training.learner import Diverged, Learner

KEYS = {
    *("schema", "status", "error", "model", "task", "lag", "seed", "config", "config_hash", "solved", "steps_to_solve"),
    *("sequences_to_solve", "seconds_to_solve", "test", "lag_curve", "gradient", "cost", "environment"),
    *("training_lags", "gradient_scalars", "data", "example", "learning_curve"),
    *("command", "best_step", "ended_by", "started", "ended", "sequences", "artifacts"),
}


def raises(error: BaseException) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise error

    return fail


def test_record_has_what_the_schema_says(run_small):
    folder, record = run_small("seed=3")
    assert record == records.read(folder)
    assert set(record) >= KEYS
    assert (record["schema"], record["status"], record["error"]) == (2, "finished", None)
    assert (record["model"], record["task"], record["lag"], record["seed"]) == ("model", "task", 6, 3)
    assert record["config"]["task"]["_target_"] == "longlag.tasks.copy.Copy"
    assert record["config_hash"] == records.config_hash(record["config"])
    assert record["sequences"] == {"validation": 32, "test": 16, "gradient": 4}
    assert datetime.fromisoformat(record["started"]) <= datetime.fromisoformat(record["ended"])
    assert datetime.fromisoformat(record["ended"]).utcoffset() == timedelta(0)
    assert record["environment"]["cpu"]
    assert record["environment"]["cpu_count"] == os.cpu_count()
    weights = hashlib.sha256((folder / records.WEIGHTS).read_bytes()).hexdigest()
    assert record["artifacts"] == [{"file": "model.ckpt", "sha256": weights}]


def test_record_has_sane_figures(run_small):
    folder, record = run_small()
    for point in (record["test"], *record["lag_curve"]):
        assert 0 <= point["accuracy"] <= 1
        assert point["loss"] > 0
        assert (point["chance"], point["sequences"]) == (1 / 8, 16)
    assert [point["lag"] for point in record["lag_curve"]] == [3, 6, 12]
    assert record["test"]["loss"] == record["lag_curve"][1]["loss"]
    assert record["best_step"] in (2, 4)  # the steps that were validated
    probed = sorted({0, 1, 3, record["best_step"]})
    assert [(point["step"], point["distance"]) for point in record["gradient"]] == [
        (step, distance) for step in probed for distance in (0, 1, 2, 4, 6)
    ]
    assert [scalars["step"] for scalars in record["gradient_scalars"]] == probed
    assert all(scalars["log10_over_lag"] < 0 for scalars in record["gradient_scalars"])
    cost = record["cost"]
    assert cost["steps"] == 4
    assert cost["parameters"] == sum(weight.numel() for weight in saved_weights(folder).values())
    assert 0 < cost["validation_seconds"] < cost["seconds"]
    assert min(cost["tokens_per_second"], cost["peak_memory_bytes"], cost["test_seconds"]) > 0
    assert {"python", "torch", "device", "threads"} <= set(record["environment"])


def test_folder_holds_the_run_and_nothing_half_written(run_small):
    folder, _ = run_small()
    assert {path.name for path in folder.iterdir()} == {records.FILE, records.WEIGHTS, PICTURE, GRADIENT}
    assert (folder / PICTURE).read_bytes().startswith(b"\x89PNG")


def test_same_seed_same_run(run_small, tmp_path: Path):
    (one, first), (two, second) = run_small(), run_small(folder=tmp_path / "again")
    assert repeatable(first) == repeatable(second)
    assert same(saved_weights(one), saved_weights(two))


def test_other_seed_other_run(run_small, tmp_path: Path):
    (one, first), (two, second) = run_small(), run_small("seed=1", folder=tmp_path / "again")
    assert first["test"]["loss"] != second["test"]["loss"]
    assert first["config_hash"] != second["config_hash"]
    assert not same(saved_weights(one), saved_weights(two))


def test_results_are_of_the_best_validation_and_not_of_the_last(run_small, monkeypatch: pytest.MonkeyPatch):
    losses, seen = iter([0.5, 0.1, 0.9, 0.8]), []

    def scripted(learner: Learner) -> None:
        seen.append({name: value.clone() for name, value in learner.network.state_dict().items()})
        learner.log_dict({"val/loss": next(losses), "val/accuracy": 0.0})

    monkeypatch.setattr(Learner, "on_validation_epoch_end", scripted)
    folder, record = run_small("validation.every=1")
    assert len(seen) == 4
    assert [same(saved_weights(folder), weights) for weights in seen] == [False, True, False, False]
    network, task, _ = longlag.load(folder)
    assert over_lags(network, task, [6], Seeds(0), 16)[0]["loss"] == record["test"]["loss"]


def test_test_split_is_drawn_after_training(run_small, monkeypatch: pytest.MonkeyPatch):
    drawn = []

    def spy(seeds: Seeds, split: str, *key: int) -> np.random.Generator:
        drawn.append(split)
        return generator(seeds, split, *key)

    generator = Seeds.generator
    monkeypatch.setattr(Seeds, "generator", spy)
    run_small()
    last_training_batch = len(drawn) - 1 - drawn[::-1].index("train")
    assert drawn.index("test") > last_training_batch
    assert drawn.count("test") == 3  # once at each lag


def test_a_solved_run(run_small):
    _, record = run_small("lag=3", "max_steps=400", "validation.every=10", "model.hidden_size=32")
    assert (record["status"], record["solved"]) == ("finished", True)
    assert record["steps_to_solve"] % 10 == 0
    assert record["cost"]["steps"] == record["steps_to_solve"] + 10 < 400  # the second of two good validations
    assert record["sequences_to_solve"] == 32 * record["steps_to_solve"]
    assert 0 < record["seconds_to_solve"] < record["cost"]["seconds"]
    assert record["test"]["accuracy"] > 0.9


def test_validation_rarer_than_steps(run_small):
    folder, record = run_small("validation.every=100")
    assert record["cost"]["steps"] == 4
    assert (folder / records.WEIGHTS).exists()


def test_mixed_precision(run_small):
    _, record = run_small("trainer.precision=bf16-mixed")
    assert record["status"] == "finished"
    assert record["config"]["trainer"]["precision"] == "bf16-mixed"


def test_eval_lags(run_small):
    _, record = run_small("eval.lags=[20,2,20]")
    assert [point["lag"] for point in record["lag_curve"]] == [2, 20]
    assert record["test"]["loss"] > 0  # the trained lag is tested all the same


def test_eval_lags_that_the_task_does_not_have_write_nothing(run_small, tmp_path: Path):
    with pytest.raises(ValueError, match="lag must be at least"):
        run_small("eval.lags=[10,1]")
    assert not (tmp_path / "run").exists()


def test_a_folder_that_holds_a_run_is_left_alone(run_small):
    folder, record = run_small()
    with pytest.raises(FileExistsError, match="holds a run already"):
        run_small("seed=1", folder=folder)
    assert records.read(folder) == record


def test_diverged(run_small, tmp_path: Path):
    with pytest.raises(Diverged):
        run_small("lr=1e37")
    record = records.read(tmp_path / "run")
    assert record["status"] == "diverged"
    assert "loss is" in record["error"]
    assert (record["solved"], record["test"], record["lag_curve"]) == (False, {}, [])
    assert record["cost"]["steps"] >= 1


def test_failed(run_small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Copy, "measure", raises(RuntimeError("out of memory")))
    with pytest.raises(RuntimeError, match="out of memory"):
        run_small()
    record = records.read(tmp_path / "run")
    assert (record["status"], record["error"]) == ("failed", "RuntimeError: out of memory")


def test_an_example_that_fails_leaves_the_scores(run_small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Copy, "example", raises(RuntimeError("out of memory")))
    with pytest.raises(RuntimeError, match="out of memory"):
        run_small()
    record = records.read(tmp_path / "run")
    assert (record["status"], record["error"]) == ("failed", "RuntimeError: out of memory")
    assert record["test"]["loss"] == record["lag_curve"][1]["loss"]
    assert [point["lag"] for point in record["lag_curve"]] == [3, 6, 12]
    assert record["best_step"] in {scalars["step"] for scalars in record["gradient_scalars"]}


def test_what_is_measured_is_written_at_once(run_small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A process that is killed for its memory writes nothing any more."""
    seen: list[records.Record] = []

    def spy(name: str) -> Callable[..., Any]:
        measure = getattr(run, name)

        def measured(*arguments: Any) -> Any:
            seen.append(records.read(tmp_path / "run"))
            return measure(*arguments)

        return measured

    for name in ("score", "over_lags", "example"):
        monkeypatch.setattr(run, name, spy(name))
    _, record = run_small()
    before_test, before_curve, before_example = seen
    assert before_test["learning_curve"] == record["learning_curve"]
    assert before_test["gradient"] == record["gradient"]
    assert (before_test["test"], before_curve["test"]) == ({}, record["test"])
    assert (before_curve["lag_curve"], before_example["lag_curve"]) == ([], record["lag_curve"])
    assert {one["status"] for one in seen} == {"interrupted"}
    assert record["status"] == "finished"


def test_interrupted(run_small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Learner, "training_step", raises(KeyboardInterrupt()))
    before = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(KeyboardInterrupt):
            run_small()
    finally:
        signal.signal(signal.SIGINT, before)  # Lightning turns it off
    record = records.read(tmp_path / "run")
    assert record["status"] == "interrupted"
    assert record["cost"]["steps"] == 0


def test_load_gives_the_network_back(run_small, monkeypatch: pytest.MonkeyPatch):
    measured, measure = [], run.measure
    monkeypatch.setattr(run, "measure", lambda prepared: measured.append(prepared.network) or measure(prepared))
    folder, record = run_small("task.payload=2")
    network, task, loaded = longlag.load(str(folder))
    assert loaded == record
    assert (task.lag, task.payload) == (6, 2)
    assert not network.training
    batch = task.batch(5, Seeds(0).generator("val", task.lag, 0))
    with torch.no_grad():
        assert torch.equal(network(batch.inputs, batch.steps), measured[0](batch.inputs, batch.steps))
    assert over_lags(network, task, [3, 6, 12], Seeds(record["seed"]), 16) == record["lag_curve"]


def test_load_where_there_is_no_run(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"there is no record\.json"):
        longlag.load(tmp_path / "nowhere")


def test_load_without_weights(run_small):
    folder, _ = run_small()
    (folder / records.WEIGHTS).unlink()
    with pytest.raises(FileNotFoundError, match=r"has no model\.ckpt"):
        longlag.load(folder)


@pytest.mark.parametrize("part", [0.0, 0.5, 0.99])
def test_load_broken_weights(run_small, part: float):
    folder, record = run_small()
    weights = folder / records.WEIGHTS
    weights.write_bytes(weights.read_bytes()[: int(part * weights.stat().st_size)])
    with pytest.raises(ValueError, match=r"model\.ckpt is not the file that this run wrote"):
        longlag.load(folder)
    records.write(record | {"artifacts": []}, folder)  # as records before schema 2 have it
    with pytest.raises(ValueError, match=r"model\.ckpt does not hold the weights"):
        longlag.load(folder)


def test_load_weights_of_another_network(run_small, tmp_path: Path):
    (folder, _), (other, _) = run_small(), run_small("model.hidden_size=9", folder=tmp_path / "other")
    (folder / records.WEIGHTS).write_bytes((other / records.WEIGHTS).read_bytes())
    with pytest.raises(ValueError, match=r"model\.ckpt"):
        longlag.load(folder)


@pytest.mark.parametrize("part", ["model", "task"])
def test_load_makes_nothing_that_is_not_allowed(run_small, part: str, tmp_path: Path):
    folder, record = run_small()
    record["config"][part] = {"_target_": "os.system", "command": f"touch {tmp_path / 'done'}"}
    (folder / records.FILE).write_text(json.dumps(record))
    with pytest.raises(ValueError, match=r"_target_ os\.system is not allowed"):
        longlag.load(folder)
    assert not (tmp_path / "done").exists()


def test_threads(run_small, monkeypatch: pytest.MonkeyPatch):
    asked = []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    run_small("runtime.threads=2")
    assert asked == [2]


def test_all_threads(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert trainer.all_threads() == 5
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert trainer.all_threads() >= 1


def test_a_batch_that_cannot_be_shared_evenly(run_small, tmp_path: Path):
    with pytest.raises(ValueError, match="batch_size=32 cannot be shared evenly among 3 devices"):
        run_small("trainer=cpu", "trainer.devices=3", "trainer.strategy=ddp")
    assert not (tmp_path / "run").exists()


def test_forecasts_of_a_sine_run(run_small):
    folder, record = run_small("task=sine", "task.window=12")
    assert (folder / "forecasts.png").read_bytes().startswith(b"\x89PNG")
    panels = record["example"]["forecasts"]["panels"]
    assert [{one["name"]: (one["start"], len(one["values"])) for one in panel} for panel in panels] == [
        {"observed": (0, 12), "truth": (12, 6), "forecast": (12, 6)}
    ] * 3


def test_text_run_keeps_a_sample_and_what_it_read(run_small, tmp_path):
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("In the beginning was the word, and it was long. " * 40, encoding="utf-8")
    folder, record = run_small("task=text", f"task.corpus={corpus}", "task.sample=30")
    assert (folder / "sample.txt").read_text(encoding="utf-8") == record["example"]["sample"]["text"] + "\n"
    assert len(record["example"]["sample"]["text"]) == len("The ") + 30
    assert record["data"]["characters"] == {"train": 1728, "val": 96, "test": 96}
    assert record["test"]["bits_per_character"] == pytest.approx(record["test"]["loss"] / math.log(2))
    assert [point["lag"] for point in record["lag_curve"]] == [1, 3, 6, 12]
    assert longlag.load(folder).record["data"] == record["data"]
    corpus.write_text("In the beginning was the Word, and it was long. " * 40, encoding="utf-8")
    with pytest.raises(ValueError, match=rf"sha256 was {record['data']['sha256']}, now it is \w{{64}}"):
        longlag.load(folder)


def test_accuracy_at_each_position(run_small):
    _, record = run_small("task=copy", "task.payload=3")
    positions = record["test"]["accuracy_by_position"]
    assert len(positions) == 3
    assert sum(positions) / 3 == pytest.approx(record["test"]["accuracy"])


@pytest.mark.parametrize("model", ["lstm", "transformer"])
def test_probing_changes_nothing(run_small, tmp_path, monkeypatch, model):
    dropout = ["model.num_layers=2", "model.dropout=0.3", "max_steps=12", f"model={model}"]
    probed, record = run_small(*dropout, folder=tmp_path / "probed")
    monkeypatch.setattr(ProbeGradients, "at", lambda *_, **__: None)
    plain, without = run_small(*dropout, folder=tmp_path / "plain")
    assert len(record["gradient_scalars"]) == 5
    assert without["gradient_scalars"] == []
    for name, value in saved_weights(probed).items():
        assert torch.equal(value, saved_weights(plain)[name]), name
