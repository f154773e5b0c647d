"""Equal tuning: who wins, what is refused, and that no test data are drawn before all is chosen."""

import json
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
from omegaconf import OmegaConf

from helpers.command import compose, train
from longlag import records
from longlag.stream import Seeds
from longlag.sweeps.tuning import Choice, choose
from longlag.sweeps.tuning_score import tuning_score

SMALL = ("trainer=cpu", "lag=5", "max_steps=4", "validation.every=2", "validation.sequences=16", "model.hidden_size=8")
TUNE = ("experiment=tune", "task=copy", *SMALL, "hydra.sweep.dir=sweep", "tune.to=mine/tuned")
HERE = ("hydra/launcher=in_process", "logger=none")


def trial(
    model: str, score: float | None, /, seed: int = 1000, lag: int = 100, loss: float = 1.0, **settings: Any
) -> records.Record:
    """A run that was tried, with this score and validation loss; None: one that failed."""
    config = OmegaConf.to_container(compose(f"lag={lag}", f"seed={seed}", "max_steps=10", "batch_size=4"), resolve=True)
    config |= settings
    curve = [{"step": 10, "accuracy": score, "loss": loss}]
    status = "failed" if score is None else "finished"
    return records.new(config, model, "copy") | {"status": status, "learning_curve": curve}


def only(runs: list[records.Record], over: list[str], model: str = "lstm") -> Choice:
    """What the trials of a model at a single lag choose."""
    (choice,) = choose(runs, over)[model].at.values()
    return choice


def test_the_best_mean_over_seeds_wins():
    scores = {0.01: (0.9, 0.2), 0.03: (0.6, 0.6), 0.1: (0.5, 0.6)}
    runs = [trial("lstm", score, lr=lr, seed=1003 + at) for lr in scores for at, score in enumerate(scores[lr])]
    tried = only(runs, ["lr"]).tried
    assert [one.settings for one in tried] == [{"lr": 0.03}, {"lr": 0.01}, {"lr": 0.1}]
    assert [one.score for one in tried] == pytest.approx([0.6, 0.55, 0.55])
    assert tried[1].runs == [0.9, 0.2]
    tuning = choose(runs, ["lr"])["lstm"]
    assert (tuning.trials, list(tuning.at), tuning.seeds) == (6, [100], [1003, 1004])
    assert tuning.settings == {"lr": 0.03}


def test_each_lag_has_its_own():
    scores = {0.01: (0.9, 0.2), 0.03: (0.6, 0.6), 0.1: (0.5, 0.1)}
    runs = [trial("lstm", score, lr=lr, lag=30 + at) for lr in scores for at, score in enumerate(scores[lr])]
    tuning = choose(runs, ["lr"])["lstm"]
    assert tuning.settings == {30: {"lr": 0.01}, 31: {"lr": 0.03}}
    assert (tuning.how["learned"], tuning.how["at_edge"]) == ({30: True, 31: True}, {30: {"lr": "smallest"}, 31: {}})
    assert [(one["lag"], one["lr"]) for one in tuning.how["scores"]] == [
        *((30, 0.01), (30, 0.03), (30, 0.1)), *((31, 0.03), (31, 0.01), (31, 0.1))
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("scores", "edges"),
    [((0.1, 0.2, 0.3), {"lr": "largest"}), ((0.3, 0.2, 0.3), {"lr": "smallest"}), ((0.1, 0.3, 0.2), {})],
)
def test_a_best_rate_at_the_edge_is_flagged(scores: tuple[float, ...], edges: dict[str, str]):
    runs = [trial("lstm", score, lr=lr) for lr, score in zip((0.01, 0.03, 0.1), scores, strict=True)]
    assert choose(runs, ["lr"])["lstm"].how["at_edge"] == edges


def test_words_and_single_values_have_no_edge():
    runs = [trial("lstm", score, lr=0.1, model={"init": init}) for init, score in (("torch", 0.1), ("chrono", 0.2))]
    assert only(runs, ["lr", "model.init"]).at_edge == {}


LN8 = 2.0794415416798357  # the loss of the best model without memory on copy


@pytest.mark.parametrize(
    ("losses", "learned"),
    [((LN8, LN8), False), ((LN8, 0.981 * LN8), False), ((LN8, 0.979 * LN8), True), ((1.0, 1.0), True)],
)
def test_what_no_trial_learned_is_not_chosen(losses: tuple[float, float], learned: bool):
    """By the validation loss alone; the accuracy at chance differs between trials, and that would choose by luck."""
    runs = [trial("lstm", 0.12 + lr, lr=lr, loss=loss) for lr, loss in zip((0.01, 0.03), losses, strict=True)]
    tuning = choose(runs, ["lr"])["lstm"]
    assert tuning.settings == ({"lr": 0.03} if learned else {})
    assert (tuning.how["learned"], tuning.how["at_edge"]) == (learned, {"lr": "largest"} if learned else {})
    assert len(tuning.how["scores"]) == 2


def test_a_setting_that_learned_nothing_is_not_chosen_by_its_luck_at_chance():
    runs = [trial("lstm", score, lr=lr, loss=loss) for lr, score, loss in ((0.01, 0.1, 1.0), (1e30, 0.14, 1e31))]
    assert choose(runs, ["lr"])["lstm"].settings == {"lr": 0.01}


def test_what_a_run_had_learned_before_it_diverged_does_not_count():
    lost = trial("lstm", 0.9, lr=1.0, loss=0.1) | {"status": "diverged"}
    assert choose([lost, trial("lstm", 0.1, lr=0.1, loss=LN8)], ["lr"])["lstm"].settings == {}


def test_nothing_learned_at_one_lag_of_two():
    runs = [trial("lstm", 0.5, lr=lr, lag=lag, loss=loss) for lr in (1, 2) for lag, loss in ((30, 1.0), (300, LN8))]
    assert choose(runs, ["lr"])["lstm"].settings == {30: {"lr": 1}, 300: {}}


@pytest.mark.parametrize("values", [(0.03, 0.001, 0.01), (0.001, 0.01, 0.03)])
def test_of_equals_the_smallest_wins(values: tuple[float, ...]):
    choice = only([trial("lstm", 0.7, lr=lr) for lr in values], ["lr"])
    assert [one.settings["lr"] for one in choice.tried] == [0.001, 0.01, 0.03]


def test_several_settings_dotted_and_of_any_kind():
    kinds = [(clip, init) for clip in (None, 1.0) for init in ("torch", "chrono")]
    scores = [0.9, 0.1, 0.1, 0.1]
    runs = [
        trial("lstm", score, trainer={"gradient_clip_val": clip}, model={"init": init})
        for score, (clip, init) in zip(scores, kinds, strict=True)
    ]
    first, *rest = only(runs, ["trainer.gradient_clip_val", "model.init"]).tried
    assert first.settings == {"trainer.gradient_clip_val": None, "model.init": "torch"}
    assert len(rest) == 3


def test_a_run_that_diverged_is_a_trial_and_scores_nothing():
    lost = trial("lstm", 0.9, lr=1.0) | {"status": "diverged"}
    first, last = only([lost, trial("lstm", 0.2, lr=0.1)], ["lr"]).tried
    assert (first.settings, last) == ({"lr": 0.1}, ({"lr": 1.0}, [0.0]))


def test_each_model_has_its_own():
    found = choose(
        [trial(m, s, lr=lr) for m, lr, s in [("a", 1, 0.1), ("a", 2, 0.2), ("b", 1, 0.2), ("b", 2, 0.1)]], ["lr"]
    )
    assert {model: tuning.settings["lr"] for model, tuning in found.items()} == {"a": 2, "b": 1}


def test_trials_that_are_not_equal_are_refused():
    runs = [trial("lstm", 0.5, lr=0.1), trial("lstm", 0.5, lr=0.2), trial("gru", 0.5, lr=0.1)]
    with pytest.raises(ValueError, match=r"equally many trials \(gru 1, lstm 2\), at the same lags and seeds"):
        choose(runs, ["lr"])
    with pytest.raises(ValueError, match="at the same lags and seeds"):
        choose([trial("lstm", 0.5, lr=0.1, seed=1000), trial("lstm", 0.5, lr=0.2, seed=1001)], ["lr"])
    with pytest.raises(ValueError, match="lstm at lag 100, seed 1000 has not finished"):
        choose([trial("lstm", None, lr=0.1)], ["lr"])


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The splits that numbers are drawn for, and where training ends, in order."""
    log: list[str] = []
    generator, fit = Seeds.generator, pl.Trainer.fit

    def told(seeds: Seeds, split: str, *key: int) -> Any:
        log.append(split)
        return generator(seeds, split, *key)

    def fitted(*arguments: Any, **named: Any) -> None:
        fit(*arguments, **named)
        log.append("trained")

    monkeypatch.setattr(Seeds, "generator", told)
    monkeypatch.setattr(pl.Trainer, "fit", fitted)
    return log


@pytest.mark.parametrize("task", ["copy", "sine", "text"])
def test_without_test_sequences_no_test_data_are_drawn(task: str, drawn: list[str], run_small: Callable):
    _, record = run_small("eval.sequences=0", f"task={task}")
    assert {"lag", "train", "val", "trained"} == set(drawn)
    assert (record["status"], record["test"], record["lag_curve"], record["example"]) == ("finished", {}, [], {})
    assert record["learning_curve"]
    assert record["gradient"]


def test_otherwise_they_are_drawn_after_training(drawn: list[str], run_small: Callable):
    run_small("task=sine")
    assert not {"test", "example"} & set(drawn[: drawn.index("trained")])
    assert {"test", "example"} <= set(drawn[drawn.index("trained") :])


def test_a_tuning_from_end_to_end(drawn: list[str], tmp_path: Path):
    """Two models, two learning rates, of which one diverges, two seeds; then a run with what was chosen."""
    longer = ("max_steps=60", "validation.every=30", "validation.sequences=64")  # both learn something
    code, said = train(tmp_path, *TUNE, *HERE, *longer, "model=lstm,rnn", "lr=0.03,3e37")
    assert code == 0, said
    assert "tuning: 8 trials, 4 of each model, at lag 5, seed 1000, 1001\n" in said
    assert set(drawn) == {"lag", "train", "val", "trained"}
    assert "[8 of 8 runs, 4 failed]" in said
    assert said.count("│ 0.03 ") == said.count(" chosen, the smallest lr of those tried") == 2
    assert "tuned        mine/tuned/copy.yaml" in said
    assert (tmp_path / "sweep" / "report.html").exists()
    tuned = OmegaConf.load(tmp_path / "mine" / "tuned" / "copy.yaml")
    assert tuned.models == {"lstm": {"lr": 0.03}, "rnn": {"lr": 0.03}}
    assert [one.score for one in tuned.how.rnn.scores][1:] == [0.0]
    assert (tuned.how.lstm.trials, tuned.how.lstm.lags, tuned.how.lstm.seeds) == (4, [5], [1000, 1001])
    assert (tuned.how.lstm.learned, tuned.how.lstm.at_edge) == (True, {"lr": "smallest"})
    command = ("python train.py", *TUNE[:-2], *HERE, *longer, "model=lstm,rnn", "lr=0.03,3e37")
    assert set(tuned.how.lstm.command.split()) == set(" ".join(command).split())
    for path in (tmp_path / "sweep").glob("*/record.json"):
        record = json.loads(path.read_text())
        assert not {"tune", "tuned"} & set(record["config"])
        assert record["test"] == {}
    (tmp_path / "mine" / "tuned" / "copy.yaml").rename(tmp_path / "mine" / "tuned" / "mine.yaml")
    code, said = train(tmp_path, "--config-dir", "mine", "tuned=mine", *SMALL, "logger=none", "hydra.run.dir=run")
    assert code == 0, said
    config = records.read(tmp_path / "run")["config"]
    assert config["lr"] == 0.03
    assert config["tuning"] == {"file": "mine", "lag": 5, "learned": True, "at_edge": {"lr": "smallest"}}
    assert "tuned=mine (smallest lr tried)" in said
    assert "test" in drawn


@pytest.mark.slow
def test_it_says_what_it_costs_before_it_starts(tmp_path: Path):
    longer = ("max_steps=100", "validation.every=50", "hydra.launcher.workers=1", "logger=none")
    code, said = train(tmp_path, *TUNE, *longer, "model=lstm", "lr=0.01,0.02", "lag=5,6", "seed=1000")
    assert code == 0, said
    assert "tuning: 4 trials, 4 of each model, at lag 5, 6, seed 1000\n" in said
    assert "these 4 runs take " in said
    assert said.index("tuning: ") < said.index("these 4 runs take ") < said.index("1 of 4 runs")
    assert list(OmegaConf.load(tmp_path / "mine" / "tuned" / "copy.yaml").models.lstm) == [5, 6]


def test_a_tuning_that_learned_nothing(tmp_path: Path):
    code, said = train(tmp_path, *TUNE, *HERE, "model=lstm", "lr=0.0003,0.001", "seed=1000")
    assert code == 0, said
    assert said.count(" untuned: nothing learned") == 1
    path = tmp_path / "mine" / "tuned" / "copy.yaml"
    assert "  lstm: {}  # untuned: nothing learned\n" in path.read_text()
    path.rename(path.with_name("mine.yaml"))
    code, said = train(tmp_path, "--config-dir", "mine", "tuned=mine", *SMALL, "logger=none", "hydra.run.dir=run")
    assert code == 0, said
    assert "tuned=mine: model=lstm learned nothing at any setting tried at lag 5: it keeps its own" in said
    config = records.read(tmp_path / "run")["config"]
    assert ("tuned" in config, config["tuning"]["learned"], config["lr"]) == (False, False, 0.02)
    assert "untuned: nothing learned" in said


def test_nothing_is_written_where_a_trial_failed(tmp_path: Path):
    code, said = train(tmp_path, *TUNE, *HERE, "model=lstm", "lr=0.01,0.02", "seed=1000", "model.dropout=0,0.5")
    assert code == 1
    assert "differ in no setting of tune.over=['lr']: list all swept settings there" in said
    code, said = train(tmp_path, *TUNE, *HERE, "model=lstm", "lr=0.01", "seed=1000", "lag=5,1")  # copy wants 2
    assert code == 1
    assert "nothing is tuned: not all trials finished" in said
    assert "1 of 2 runs did not finish" in said
    assert list((tmp_path / "mine" / "tuned").iterdir()) == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("eval.sequences=16",), "tuning must not use test data: set eval.sequences=0"),
        (
            ("tune.over=[lr,model.nonsense]",),
            "tune.over: model=lstm has no setting model.nonsense; take it out of tune.over, or leave out this model",
        ),
        (
            ("seed=999",),
            "tuning must not use the seeds of other runs, which are below 1000: seed=999 must be at least that, "
            "as in seed=1000,1001",
        ),
        (("tune.over=lr",), "tune.over must be a list of settings, such as [lr,model.init], got lr"),
        (("tune.over=[]",), "tune.over must be a list of settings, such as [lr,model.init], got []"),
        (("tune.to=file/tuned",), "file/tuned cannot be made (Not a directory); tune.to=FOLDER writes elsewhere"),
    ],
)
def test_refused_before_anything_is_run(tmp_path: Path, given: tuple[str, ...], said: str):
    (tmp_path / "file").touch()
    code, words = train(tmp_path, *TUNE, *HERE, "model=lstm", "lr=0.01,0.02", "seed=1000", *given)
    assert (code, words) == (1, f"longlag: {said}\n")
    assert not list(tmp_path.rglob("record.json"))


def test_a_tuning_that_was_stopped_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def stopping(*_: Any, **__: Any) -> Iterator[None]:
        raise KeyboardInterrupt

    grid = (*TUNE, *HERE, "model=lstm", "lr=0.01,0.02", "seed=1000")
    with monkeypatch.context() as patch:
        patch.setattr(pl.Trainer, "fit", stopping)
        code, said = train(tmp_path, *grid)
    assert code == 130
    assert "tuned" not in said.replace("mine/tuned", "")
    assert list((tmp_path / "mine" / "tuned").iterdir()) == []
    code, said = train(tmp_path, "resume=sweep")
    assert (code, "tune.to decides where files are written; give it again, together with resume=sweep" in said) == (
        1,
        True,
    )
    code, said = train(tmp_path, "resume=sweep", "tune.to=mine/tuned")
    assert code == 0, said
    assert "resume" not in OmegaConf.load(tmp_path / "mine" / "tuned" / "copy.yaml").how.lstm.command
    code, said = train(tmp_path, "resume=sweep", "tune.to=mine/tuned", "lr=0.01,0.02,0.03")
    assert code == 0, said
    assert OmegaConf.load(tmp_path / "mine" / "tuned" / "copy.yaml").how.lstm.trials == 3


def test_the_experiment_gives_all_models_of_the_gap_the_same_trials():
    params = {name: compose_sweep(name) for name in ("gap", "tune")}
    assert set(params["tune"]["model"].split(",")) == set(params["gap"]["model"].split(","))
    assert params["tune"]["lr"] == "0.0003,0.001,0.003,0.01,0.03,0.1"
    assert {int(seed) >= 1000 for seed in params["tune"]["seed"].split(",")} == {True}
    assert compose("experiment=tune", "lag=100").eval.sequences == 0


def compose_sweep(experiment: str) -> dict[str, str]:
    from longlag.settings import CONF

    return OmegaConf.load(CONF / "experiment" / f"{experiment}.yaml").hydra.sweeper.params


@pytest.mark.skipif(
    find_spec("hydra_plugins.hydra_optuna_sweeper") is None,
    reason="needs the extra optuna: pip install 'longlag[optuna]'",
)
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_optuna_chooses_by_the_same_score(tmp_path: Path):
    options = ("hydra.sweeper.n_trials=3", "hydra.sweeper.n_jobs=2", *HERE)
    of_optuna = ("experiment=tune_optuna", *TUNE[1:])
    code, said = train(tmp_path, *of_optuna, "model=lstm,rnn", *options)
    assert code == 1
    assert "longlag: model=lstm,rnn: this sweeper would tune this setting, too; give it a single value\n" in said
    for model in ("lstm", "rnn"):
        code, said = train(tmp_path, *of_optuna, f"model={model}", f"hydra.sweep.dir={model}", *options)
        assert code == 0, said
        assert said.count("tuning on copy") == 1  # after the last trial
    how = OmegaConf.load(tmp_path / "mine" / "tuned" / "copy.yaml").how
    assert {model: (one.trials, len(one.scores)) for model, one in how.items()} == {"lstm": (3, 3), "rnn": (3, 3)}
    found = [records.read(path.parent) for path in (tmp_path / "rnn").glob("*/record.json")]
    assert max(map(tuning_score, found)) == pytest.approx(how.rnn.scores[0].score, abs=1e-4)
