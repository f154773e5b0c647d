"""Equal tuning: the same number of trials for each model, the best chosen by validation alone. Needs no torch.

`longlag.sweeps.tuned_settings` stores the chosen settings.
"""

import json
import shlex
import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf
from rich.console import RenderableType
from rich.table import Table

from longlag import records
from longlag.files import shown
from longlag.records import Record
from longlag.records.identity import one_number
from longlag.settings import CONF, program
from longlag.sweeps import tuned_settings
from longlag.sweeps.tuned_settings import Settings
from longlag.sweeps.tuning_score import tuning_score

AXES = ("model", "task", "lag", "seed")  # trials may differ in these, but tuning does not choose them
ELSEWHERE = ("resume", "tune.to", "hydra.sweep.dir", "hydra.mode")  # where a tuning ran, not what it tuned
Scores = Mapping[str, Mapping[tuple[int, int], float]]  # by the settings' values as JSON, then by lag and seed


class Tried(NamedTuple):
    """Settings that a model was tried with, and the tuning score of each run."""

    settings: Settings
    runs: list[float]

    @property
    def score(self) -> float:
        """The mean tuning score of the runs."""
        return round(statistics.fmean(self.runs), 9)

    @property
    def rank(self) -> tuple[Any, ...]:
        """The sort key: the best score first; among equal scores, the smallest values first, numbers before text."""
        return -self.score, [
            (0, value, "") if isinstance(value, int | float) else (1, 0, str(value)) for value in self.settings.values()
        ]


class Tuning(NamedTuple):
    """The trials of one model.

    Attributes:
        tried: the settings tried, the best first.
        lags, seeds: those that all settings were run at.
        trials: the number of runs.
    """

    tried: list[Tried]
    lags: list[int]
    seeds: list[int]
    trials: int

    @property
    def how(self) -> dict[str, Any]:
        """The values for the keys of `tuned_settings.HOW`, except for the command."""
        scores = [
            one.settings | {"score": round(one.score, 4), "runs": [round(score, 4) for score in one.runs]}
            for one in self.tried
        ]
        return {"trials": self.trials, "lags": self.lags, "seeds": self.seeds, "scores": scores}


def check(trials: Sequence[tuple[Mapping[str, Any], DictConfig]], sweep: DictConfig) -> None:
    """Check the trials before any of them is run.

    Args:
        trials: the choices in Hydra's groups and the settings of each trial.
        sweep: Hydra's own settings for the sweep.

    Raises:
        ValueError: if these trials would not allow a choice of settings.
        OSError: if the chosen settings could not be stored.
    """
    seen = set()
    for choices, cfg in trials:
        if cfg.eval.sequences != 0:
            raise ValueError("tuning must not use test data: set eval.sequences=0")
        over = _over(cfg)
        for name in over:
            if OmegaConf.select(cfg, name, default="???") == "???":
                raise ValueError(
                    f"tune.over: model={choices['model']} has no setting {name}; "
                    "take it out of tune.over, or leave out this model"
                )
        trial = json.dumps([*(choices[name] for name in ("task", "model")), cfg.lag, cfg.seed, _values(cfg, over)])
        if trial in seen:
            raise ValueError(f"two trials differ in no setting of tune.over={over}: list all swept settings there")
        seen.add(trial)
    if "n_trials" in sweep.sweeper:
        for override in OverridesParser.create().parse_overrides(list(sweep.overrides.task)):
            if override.key_or_group in AXES and override.is_sweep_override():
                raise ValueError(
                    f"{override.input_line}: this sweeper would tune this setting, too; give it a single value"
                )
    tuned_settings.writable(_folder(trials[0][1]))


def conclude(cfg: DictConfig, sweep: DictConfig) -> list[RenderableType]:
    """Choose from all trials of a sweep and write the choice; do nothing if the sweeper will ask for more trials.

    Args:
        cfg: the settings of any of the trials.
        sweep: Hydra's own settings for the sweep.

    Returns:
        What to show: for each task, a table and a line with the path of the file.

    Raises:
        ValueError: if the models did not have equal trials, or the existing file is broken.
    """
    runs = [records.read(path.parent) for path in sorted(Path(sweep.sweep.dir).rglob(records.FILE))]
    if len(runs) < (sweep.sweeper.get("n_trials") or 0):
        return []
    said: list[RenderableType] = []
    for task in sorted({run["task"] for run in runs}):
        found = choose([run for run in runs if run["task"] == task], _over(cfg))
        chosen = {model: tuning.tried[0].settings for model, tuning in found.items()}
        how = {model: tuning.how | {"command": _command(sweep)} for model, tuning in found.items()}
        path = tuned_settings.write(task, chosen, how, _folder(cfg))
        said += [_table(found, task), f"tuned        {shown(path.absolute())}"]
    return said


def choose(runs: Sequence[Record], over: Sequence[str]) -> dict[str, Tuning]:
    """Rank the settings of each model by the mean tuning score over lags and seeds, the best first.

    Args:
        runs: the runs on one task, all ended; one that diverged has a tuning score of 0.
        over: the names of the settings that were tuned.

    Raises:
        ValueError: if a run has not finished, or the models did not have equal trials.
    """
    scores: dict[str, dict[str, dict[tuple[int, int], float]]] = defaultdict(lambda: defaultdict(dict))
    trials: dict[str, int] = defaultdict(int)
    for run in sorted(runs, key=lambda run: run["model"]):
        score = tuning_score(run)
        if score is None:
            raise ValueError(f"{run['model']} at lag {run['lag']}, seed {run['seed']} has not finished")
        values = json.dumps(_values(records.config_of(run), over))
        scores[run["model"]][values][run["lag"], run["seed"]] = score
        trials[run["model"]] += 1
    where = {frozenset(at) for tried in scores.values() for at in tried.values()}
    if len(set(trials.values())) > 1 or len(where) > 1:
        counts = ", ".join(f"{model} {number}" for model, number in trials.items())
        raise ValueError(
            f"nothing is tuned: all models must have equally many trials ({counts}), at the same lags and seeds"
        )
    return {model: _tuning(scores[model], over, trials[model]) for model in scores}


def _tuning(scores: Scores, over: Sequence[str], trials: int) -> Tuning:
    tried = [
        Tried(dict(zip(over, json.loads(values), strict=True)), [at[where] for where in sorted(at)])
        for values, at in scores.items()
    ]
    lags, seeds = zip(*next(iter(scores.values())), strict=True)
    return Tuning(sorted(tried, key=lambda one: one.rank), sorted(set(lags)), sorted(set(seeds)), trials)


def _table(found: Mapping[str, Tuning], task: str) -> Table:
    """All settings tried for each model, with their tuning scores."""
    over = next(iter(found.values())).tried[0].settings
    title = f"tuning on {task}, by validation accuracy alone"
    rows = Table("model", *over, "tuning score", "runs", "", title=title, title_justify="left")
    for model, tuning in found.items():
        for place, one in enumerate(tuning.tried):
            told = [model, *map(str, one.settings.values()), f"{one.score:.3f}", str(len(one.runs))]
            why = "" if place else ", ".join(["chosen", *_at_the_edge(tuning)])
            rows.add_row(*told, why, end_section=one is tuning.tried[-1])
    return rows


def _at_the_edge(tuning: Tuning) -> Iterator[str]:
    """The chosen values at the edge of their grid: a wider grid might do better."""
    for name, value in tuning.tried[0].settings.items():
        values = [one.settings[name] for one in tuning.tried]
        if len(set(map(str, values))) > 1 and all(isinstance(each, int | float) for each in values):
            for edge, which in ((min(values), "smallest"), (max(values), "largest")):
                if value == edge:
                    yield f"the {which} {name} of those tried"


def _over(cfg: DictConfig) -> list[str]:
    """The names in `tune.over`. Raises ValueError if it is not a list of names."""
    over = cfg.tune.get("over")
    if not (OmegaConf.is_list(over) and over and all(isinstance(name, str) for name in over)):
        raise ValueError(f"tune.over must be a list of settings, such as [lr,model.init], got {over}")
    return list(over)


def _folder(cfg: DictConfig) -> Path:
    """The folder for the tuned settings."""
    return Path(cfg.tune.get("to") or CONF / "tuned")


def _values(cfg: Any, over: Iterable[str]) -> list[Any]:
    return [one_number(OmegaConf.select(cfg, name)) for name in over]


def _command(sweep: DictConfig) -> str:
    """The command as typed, without the overrides that say where the sweep ran or what it resumed."""
    words = [*sweep.overrides.hydra, *sweep.overrides.task]
    return f"{program()} {shlex.join(word for word in words if word.partition('=')[0] not in ELSEWHERE)}"
