"""What was tuned: written so that Hydra reads it, applied where the command line is silent, named in the record."""

import json
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from helpers.command import compose, train
from longlag.records import config_hash
from longlag.report import table
from longlag.report.groups import find
from longlag.settings import CONF, check, plain
from longlag.sweeps import tuned_settings
from longlag.sweeps.tuning import choose

HOW = {
    "trials": 2,
    "lags": [5],
    "seeds": [1000, 1001],
    "learned": True,
    "at_edge": {},
    "command": "python train.py experiment=tune 'task.corpus=${odd}'  # no comment",
    "scores": [{"lr": 0.03, "score": 0.9, "runs": [0.9, 0.9]}, {"lr": 0.01, "score": 0.5, "runs": [0.5, 0.5]}],
}
SMALL = ("max_steps=2", "validation.every=2", "validation.sequences=16", "eval.sequences=16", "logger=none", "lag=5")


def written(folder: Path, task: str = "mine", **settings: dict) -> Path:
    """A file of a tuning in the configuration `folder`."""
    return tuned_settings.write(task, settings, dict.fromkeys(settings, HOW), folder / "tuned")


def composed(folder: Path, *overrides: str) -> DictConfig:
    return compose(f"hydra.searchpath=[file://{folder}]", *overrides)


def settings(folder: Path, *overrides: str, model: str = "lstm", name: str = "mine") -> DictConfig:
    """What a run gets, of overrides on the command line."""
    return tuned_settings.applied(composed(folder, *overrides), {"model": model, "tuned": name}, overrides)


def test_hydra_reads_what_was_written(tmp_path: Path):
    path = written(
        tmp_path, lstm={"lr": 0.03, "trainer.gradient_clip_val": None}, gru={"lr": 0.001, "model.init": "torch"}
    )
    cfg = composed(tmp_path, "tuned=mine").tuned
    assert path == tmp_path / "tuned" / "mine.yaml"
    assert (cfg.task, cfg.models.gru) == ("mine", {"lr": 0.001, "model.init": "torch"})
    assert OmegaConf.to_container(cfg, resolve=True)["how"] == {"lstm": HOW, "gru": HOW}
    assert list(path.parent.iterdir()) == [path]


def test_a_model_tuned_again_is_replaced_and_the_others_stay(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    written(tmp_path, lstm={"lr": 0.03}, gru={"lr": 0.001})
    before = written(tmp_path, rnn={"lr": 0.003}).read_text()
    assert written(tmp_path, rnn={"lr": 0.003}).read_text() == before
    tuned_settings.write("mine", {"gru": {"lr": 0.5}}, {"gru": HOW | {"trials": 7}}, tmp_path / "tuned")
    cfg = composed(tmp_path, "tuned=mine").tuned
    assert {model: each.lr for model, each in cfg.models.items()} == {"gru": 0.5, "lstm": 0.03, "rnn": 0.003}
    assert {model: each.trials for model, each in cfg.how.items()} == {"gru": 7, "lstm": 2, "rnn": 2}
    (said,) = caplog.messages
    assert said.startswith("these models were not tuned equally: gru: 7 trials, lags [5]; lstm: 2 trials, lags [5]; ")


@pytest.mark.parametrize("task", ["../elsewhere", "/tmp/elsewhere", "a/b", "", ".hidden", "a b"])
def test_a_task_whose_name_leads_elsewhere(tmp_path: Path, task: str):
    with pytest.raises(ValueError, match=r"_ and - in the name of a task$"):
        tuned_settings.write(task, {"gru": {"lr": 0.5}}, {"gru": HOW}, tmp_path / "tuned")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["models: [", "a: 1\n", "models: {}\nhow: {lstm: {trials: 1}}\n", "models: 3\n"])
def test_a_file_that_is_none_is_not_overwritten(tmp_path: Path, text: str):
    path = tmp_path / "tuned" / "mine.yaml"
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(ValueError, match=r"mine\.yaml is not a file that experiment=tune writes: move it away"):
        written(tmp_path, lstm={"lr": 0.1})
    assert path.read_text() == text


def test_one_written_by_hand_is_kept(tmp_path: Path):
    (tmp_path / "tuned").mkdir()
    (tmp_path / "tuned" / "mine.yaml").write_text("models:\n  gru: {lr: 0.5}\n")
    written(tmp_path, lstm={"lr": 0.1})
    assert composed(tmp_path, "tuned=mine").tuned.models == {"gru": {"lr": 0.5}, "lstm": {"lr": 0.1}}


def test_a_folder_that_cannot_be_made(tmp_path: Path):
    (tmp_path / "tuned").touch()
    with pytest.raises(PermissionError, match=r"tuned cannot be made \(File exists\); tune.to=FOLDER writes"):
        written(tmp_path, lstm={"lr": 0.1})


def test_the_command_line_goes_first_the_model_last(tmp_path: Path):
    written(tmp_path, lstm={"lr": 0.03, "trainer.gradient_clip_val": None}, gru={"lr": 0.5})
    cfg = settings(tmp_path, "tuned=mine")
    assert (cfg.lr, cfg.optimizer.lr, cfg.trainer.gradient_clip_val, cfg.tuned) == (0.03, 0.03, None, "mine")
    cfg = settings(tmp_path, "tuned=mine", "lr=0.7")
    assert (cfg.lr, cfg.trainer.gradient_clip_val, cfg.tuned) == (0.7, None, "mine")
    cfg = settings(tmp_path, "tuned=mine", "lr=0.7", "++trainer.gradient_clip_val=2")
    assert (cfg.lr, cfg.trainer.gradient_clip_val, plain(cfg).get("tuned")) == (0.7, 2, None)
    check(cfg)


BY_LAG = {10: {"lr": 0.1}, 100: {"lr": 0.03}, 1000: {}}
HOW_BY_LAG = HOW | {
    "lags": list(BY_LAG),
    "learned": {10: True, 100: True, 1000: False},
    "at_edge": {10: {"lr": "largest"}, 100: {}, 1000: {}},
}


@pytest.mark.parametrize(
    ("lag", "tuned"),
    [(2, 10), (10, 10), (31, 10), (32, 100), (100, 100), (316, 100), (317, 1000), (9999, 1000)],
)
def test_the_nearest_lag_in_log_lag_counts(tmp_path: Path, lag: int, tuned: int):
    tuned_settings.write("mine", {"lstm": BY_LAG}, {"lstm": HOW_BY_LAG}, tmp_path / "tuned")
    cfg = settings(tmp_path, "tuned=mine", f"lag={lag}")
    check(cfg)
    learned = tuned < 1000
    assert cfg.tuning == {
        "file": "mine", "lag": tuned, "learned": learned, "at_edge": {"lr": "largest"} if tuned == 10 else {},
    }  # fmt: skip
    assert (cfg.lr, plain(cfg).get("tuned")) == (BY_LAG[tuned]["lr"] if learned else 0.02, "mine" if learned else None)


def test_of_two_equally_near_lags_the_smaller():
    assert tuned_settings.nearest([1000, 10], 100) == 10
    assert tuned_settings.nearest([2, 8], 4) == 2
    assert tuned_settings.nearest([3, 300, 9], 30) == 9


def test_what_was_tuned_by_lag_is_written_and_read_again(tmp_path: Path):
    tuned_settings.write("mine", {"lstm": BY_LAG}, {"lstm": HOW_BY_LAG}, tmp_path / "tuned")
    text = tuned_settings.write("mine", {}, {}, tmp_path / "tuned").read_text()
    assert "lstm: {10: {lr: 0.1}, 100: {lr: 0.03}, 1000: {}}  # the settings with the best tuning score at each" in text
    assert OmegaConf.to_container(composed(tmp_path, "tuned=mine").tuned, resolve=True)["how"] == {"lstm": HOW_BY_LAG}


def test_a_file_of_the_old_form_is_applied_and_kept(tmp_path: Path):
    old = {key: value for key, value in HOW.items() if key not in ("learned", "at_edge")} | {"command": "x"}
    (tmp_path / "tuned").mkdir()
    path = tmp_path / "tuned" / "mine.yaml"
    path.write_text(json.dumps({"models": {"lstm": {"lr": 0.03}}, "how": {"lstm": old}}))
    cfg = settings(tmp_path, "tuned=mine", "lag=300")
    assert (cfg.lr, cfg.tuning) == (0.03, {"file": "mine", "lag": 5, "learned": None, "at_edge": {}})
    written(tmp_path, gru={"lr": 0.1})
    how = OmegaConf.to_container(OmegaConf.load(path), resolve=True)["how"]
    assert how["lstm"] == old | {"learned": None, "at_edge": None}


def test_what_the_command_line_sets_is_at_no_edge(tmp_path: Path):
    how = HOW | {"at_edge": {"lr": "largest"}}
    tuned_settings.write("mine", {"lstm": {"lr": 0.1, "batch_size": 8}}, {"lstm": how}, tmp_path / "tuned")
    assert settings(tmp_path, "tuned=mine").tuning.at_edge == {"lr": "largest"}
    assert settings(tmp_path, "tuned=mine", "lr=0.1").tuning.at_edge == {}


def test_how_it_was_tuned_is_not_part_of_the_identity(tmp_path: Path):
    written(tmp_path, lstm={"lr": 0.03})
    given = plain(settings(tmp_path, "tuned=mine"))
    assert config_hash(given) == config_hash({key: value for key, value in given.items() if key != "tuning"})


def test_nested_settings_are_settings(tmp_path: Path):
    (tmp_path / "tuned").mkdir()
    (tmp_path / "tuned" / "mine.yaml").write_text("models: {lstm: {lr: 0.5, trainer: {gradient_clip_val: 3}}}\n")
    cfg = settings(tmp_path, "tuned=mine")
    assert (cfg.lr, cfg.trainer.gradient_clip_val, cfg.trainer.accelerator) == (0.5, 3, "auto")


@pytest.mark.parametrize("asked", [(), ("tuned=none",), ("tuned=mine", "model=rnn")])
def test_where_nothing_is_applied_the_run_is_what_it_was_before_there_was_tuning(
    tmp_path: Path, asked: tuple[str, ...]
):
    written(tmp_path, lstm={"lr": 0.03})
    cfg = settings(tmp_path, *asked, model="rnn" if "model=rnn" in asked else "lstm")
    check(cfg)
    assert not {"tune", "tuned", "tuning"} & set(plain(cfg))


def test_what_is_applied_makes_another_run(tmp_path: Path):
    written(tmp_path, lstm={"lr": 0.03})
    given, unchanged = (plain(settings(tmp_path, *asked)) for asked in (("tuned=mine",), ("tuned=none",)))
    assert given["tuned"] == "mine"
    assert config_hash(given) != config_hash(unchanged)


def test_a_setting_that_is_none_is_refused_by_the_run(tmp_path: Path):
    written(tmp_path, lstm={"learning_rate": 0.03})
    with pytest.raises(ValueError, match="learning_rate: there is no such setting"):
        check(settings(tmp_path, "tuned=mine"))


@pytest.mark.parametrize("of", ["tuned: 3", "models: [1]", "models: {lstm: [1]}", "models: {lstm: {}}", "{}"])
def test_a_file_that_says_nothing(tmp_path: Path, of: str):
    (tmp_path / "tuned").mkdir()
    (tmp_path / "tuned" / "mine.yaml").write_text(of + "\n")
    assert "tuned" not in plain(settings(tmp_path, "tuned=mine"))


def test_the_gap_asks_for_what_there_is(tmp_path: Path):
    (tmp_path / "task").mkdir()
    for name in ("mine", "untuned"):
        (tmp_path / "task" / f"{name}.yaml").write_text("# @package _global_\ndefaults: [adding]\n")
    written(tmp_path, rnn={"lr": 0.3})
    cfg = settings(tmp_path, "experiment=gap", "task=mine", model="rnn")
    assert (cfg.lr, cfg.tuned) == (0.3, "mine")
    assert "tuned" not in composed(tmp_path, "experiment=gap", "task=untuned")
    assert composed(tmp_path, "experiment=gap", "task=mine", "tuned=none").tuned.models == {}


@pytest.mark.parametrize("path", sorted((CONF / "tuned").glob("*.yaml")), ids=lambda path: path.stem)
def test_everything_that_ships_is_accepted(path: Path, tmp_path: Path):
    shipped = OmegaConf.load(path)
    assert path.stem in ("none", shipped.get("task"))
    for model in [name for name, settings in shipped.models.items() if settings]:
        cfg = settings(
            tmp_path, f"tuned={path.stem}", f"model={model}", f"task={path.stem}", model=model, name=path.stem
        )
        assert plain(cfg)["tuned"] == path.stem
        check(cfg)


def one(folder: Path, *arguments: str) -> tuple[int, str, dict]:
    """A run by the command line: its exit code, what it says and its configuration."""
    code, said = train(folder, "--config-dir", ".", *SMALL, "model.hidden_size=8", "hydra.run.dir=run", *arguments)
    path = folder / "run" / "record.json"
    return code, said, json.loads(path.read_text())["config"] if path.exists() else {}


def test_the_record_names_it(tmp_path: Path):
    written(tmp_path, lstm={"lr": 0.03})
    code, said, config = one(tmp_path, "tuned=mine")
    assert code == 0, said
    assert (config["lr"], config["optimizer"]["lr"], config["tuned"]) == (0.03, 0.03, "mine")


def test_a_model_that_was_not_tuned_is_told_of(tmp_path: Path):
    written(tmp_path, lstm={"lr": 0.03})
    code, said, config = one(tmp_path, "tuned=mine", "model=rnn")
    assert (code, config["lr"]) == (0, 0.003)
    assert "tuned=mine has no settings for model=rnn: the model keeps its own" in said
    assert "tuned" not in config


def test_a_file_that_is_not_there(tmp_path: Path):
    code, said, _ = one(tmp_path, "tuned=copi")
    assert code == 1
    assert said == "longlag: tuned=copi: there is no conf/tuned/copi.yaml; experiment=tune task=copi writes one\n"


def test_untuned_and_tuned_stand_beside_each_other(tmp_path: Path):
    written(tmp_path, lstm={"lr": 0.03})
    code, said = train(
        tmp_path, "-m", "--config-dir", ".", *SMALL, "model=lstm", "model.hidden_size=8", "tuned=none,mine",
        "eval.lags=[5]", "hydra.sweep.dir=sweep",
    )  # fmt: skip
    assert code == 0, said
    assert [row["differs in"] for row in table.rows(find([tmp_path / "sweep"]))] == [
        "lr=0.02 tuned=none",
        "lr=0.03 tuned=mine",
    ]
    assert "tuned=mine" in said
    code, said = train(tmp_path, "--config-dir", ".", "resume=sweep")
    assert "2 of 2 runs have ended already" in said


def test_what_ships_is_what_its_trials_say():
    results = CONF.parent / "docs" / "results"
    for path in (CONF / "tuned").glob("*.yaml"):
        shipped = OmegaConf.load(path)
        if path.stem != "none":
            runs = find([results / f"tune_{path.stem}"])
            # gru and lstm had the initialisation that gru_oracle and lstm_oracle have today; lstm_scratch has none such
            today = {"gru": "gru_oracle", "lstm": "lstm_oracle"}
            chosen = {model: tuning for model, tuning in choose(runs, ["lr"]).items() if model != "lstm_scratch"}
            found = {today.get(model, model): tuning for model, tuning in chosen.items()}
            assert shipped.models == {model: tuning.settings for model, tuning in found.items()}
            for model, tuning in found.items():
                assert shipped.how[model] == tuning.how | {"command": shipped.how[model].command}
            assert all(run["test"] == {} for run in runs)
