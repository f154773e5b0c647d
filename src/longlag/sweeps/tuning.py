"""Equal tuning: the same trials for each model, the best settings at each lag chosen by validation alone.

`longlag.sweeps.tuned_settings` stores the chosen settings. Importing this needs no torch.
"""

import json
import shlex
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
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
from longlag.training.budget import BEGUN

AXES = ("model", "task", "lag", "seed")  # trials may differ in these, but tuning does not choose them
ELSEWHERE = ("resume", "tune.to", "hydra.sweep.dir", "hydra.mode")  # where a tuning ran, not what it tuned
FIRST_SEED = 1000  # the seeds of tuning; those of all other runs are below


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


class Choice(NamedTuple):
    """The trials of one model at one lag, and what they choose.

    Attributes:
        tried: the settings tried, the best first.
        learned: whether a trial beat the memoryless baseline; see `beat_the_baseline`.
    """

    tried: list[Tried]
    learned: bool

    @property
    def settings(self) -> Settings:
        """The chosen settings; none if nothing was learned: the model then keeps its own."""
        return self.tried[0].settings if self.learned else {}

    @property
    def at_edge(self) -> dict[str, str]:
        """The chosen values that are the `smallest` or the `largest` of those tried: a wider grid might do better."""
        edges: dict[str, str] = {}
        for name, value in self.settings.items():
            values = [one.settings[name] for one in self.tried]
            if len(set(map(str, values))) > 1 and all(isinstance(each, int | float) for each in values):
                ends = {min(values): "smallest", max(values): "largest"}
                edges |= {name: ends[value]} if value in ends else {}
        return edges


class Tuning(NamedTuple):
    """The trials of one model.

    Attributes:
        at: what they choose at each lag.
        seeds: those that all settings were run with.
        trials: the number of runs.
    """

    at: dict[int, Choice]
    seeds: list[int]
    trials: int

    @property
    def settings(self) -> Settings:
        """The chosen settings as the file has them: by lag if several lags were tuned."""
        return self._by_lag({lag: choice.settings for lag, choice in self.at.items()})

    @property
    def how(self) -> dict[str, Any]:
        """The values for the keys of `tuned_settings.HOW`, except for the command."""
        return {
            "trials": self.trials,
            "lags": list(self.at),
            "seeds": self.seeds,
            "learned": self._by_lag({lag: choice.learned for lag, choice in self.at.items()}),
            "at_edge": self._by_lag({lag: choice.at_edge for lag, choice in self.at.items()}),
            "scores": [
                ({"lag": lag} if len(self.at) > 1 else {})
                | one.settings
                | {"score": round(one.score, 4), "runs": [round(score, 4) for score in one.runs]}
                for lag, choice in self.at.items()
                for one in choice.tried
            ],
        }

    def _by_lag(self, values: dict[int, Any]) -> Any:
        """The values by lag, or the only one."""
        return values if len(values) > 1 else next(iter(values.values()))


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
        if cfg.seed < FIRST_SEED:
            raise ValueError(
                f"tuning must not use the seeds of other runs, which are below {FIRST_SEED}: "
                f"seed={cfg.seed} must be at least that, as in seed={FIRST_SEED},{FIRST_SEED + 1}"
            )
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


def announced(trials: Sequence[tuple[Mapping[str, Any], DictConfig]], planned: int) -> str:
    """One line: how many trials there will be, how many of each model, and at which lags and seeds.

    Args:
        trials: the choices in Hydra's groups and the settings of the first trials.
        planned: the number of all trials.
    """
    models = {choices["model"] for choices, _ in trials}
    lags, seeds = ({cfg[name] for _, cfg in trials} for name in ("lag", "seed"))
    where = f"lag {_listed(lags)}, seed {_listed(seeds)}"
    return f"tuning: {planned} trials, {planned / len(models):g} of each model, at {where}"


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(numbers)))


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
        chosen = {model: tuning.settings for model, tuning in found.items()}
        how = {model: tuning.how | {"command": _command(sweep)} for model, tuning in found.items()}
        path = tuned_settings.write(task, chosen, how, _folder(cfg))
        said += [_table(found, task), f"tuned        {shown(path.absolute())}"]
    return said


def choose(runs: Sequence[Record], over: Sequence[str]) -> dict[str, Tuning]:
    """Rank the settings of each model at each lag by the mean tuning score over seeds, the best first.

    Args:
        runs: the runs on one task, all ended; one that diverged has a tuning score of 0.
        over: the names of the settings that were tuned.

    Raises:
        ValueError: if a run has not finished, or the models did not have equal trials.
    """
    trials: dict[str, list[Record]] = defaultdict(list)
    for run in sorted(runs, key=lambda run: (run["model"], run["lag"], run["seed"])):
        if tuning_score(run) is None:
            raise ValueError(f"{run['model']} at lag {run['lag']}, seed {run['seed']} has not finished")
        trials[run["model"]].append(run)
    of_setting: dict[Any, set[tuple[int, int]]] = defaultdict(set)
    for run in runs:
        of_setting[run["model"], _tried(run, over)].add((run["lag"], run["seed"]))
    if len(set(map(len, trials.values()))) > 1 or len(set(map(frozenset, of_setting.values()))) > 1:
        counts = ", ".join(f"{model} {len(ours)}" for model, ours in trials.items())
        raise ValueError(
            f"nothing is tuned: all models must have equally many trials ({counts}), at the same lags and seeds"
        )
    return {model: _tuning(ours, over) for model, ours in trials.items()}


def beat_the_baseline(run: Record) -> bool:
    """Whether a validation loss of a finished run was below `BEGUN` of the loss of the best model without memory."""
    best = min((point["loss"] for point in run["learning_curve"]), default=float("inf"))
    task = json.dumps(run["config"]["task"], sort_keys=True)
    return run["status"] == "finished" and best < BEGUN * _memoryless_loss(task)


@cache
def _memoryless_loss(settings: str) -> float:
    """The loss of the best model without memory, on the task with these settings (JSON)."""
    from longlag.assemble import make_task

    return float(make_task(OmegaConf.create({"task": json.loads(settings)})).memoryless_loss)


def _tuning(runs: Sequence[Record], over: Sequence[str]) -> Tuning:
    """What the trials of one model choose."""
    lags = sorted({run["lag"] for run in runs})
    at = {lag: _choice([run for run in runs if run["lag"] == lag], over) for lag in lags}
    return Tuning(at, sorted({run["seed"] for run in runs}), len(runs))


def _choice(runs: Sequence[Record], over: Sequence[str]) -> Choice:
    """What the trials of one model at one lag choose: the best of the settings that learned something."""
    scores: dict[str, list[float]] = defaultdict(list)
    for run in runs:
        scores[_tried(run, over)].append(tuning_score(run) or 0.0)
    learned = {_tried(run, over) for run in runs if beat_the_baseline(run)}
    tried = {values: Tried(dict(zip(over, json.loads(values), strict=True)), ours) for values, ours in scores.items()}
    ordered = sorted(tried, key=lambda values: (values not in learned, tried[values].rank))
    return Choice([tried[values] for values in ordered], bool(learned))


def _tried(run: Record, over: Sequence[str]) -> str:
    """The values of the tuned settings, as JSON."""
    return json.dumps(_values(records.config_of(run), over))


def _table(found: Mapping[str, Tuning], task: str) -> Table:
    """All settings tried for each model, with their tuning scores."""
    first = next(iter(found.values())).at
    over = next(iter(first.values())).tried[0].settings
    title = f"tuning on {task}, by validation accuracy alone"
    rows = Table("model", "lag", *over, "tuning score", "runs", "", title=title, title_justify="left")
    for model, tuning in found.items():
        for lag, choice in tuning.at.items():
            for one in choice.tried:
                told = [model, str(lag), *map(str, one.settings.values()), f"{one.score:.3f}", str(len(one.runs))]
                why = _why(choice) if one is choice.tried[0] else ""
                rows.add_row(*told, why, end_section=one is choice.tried[-1])
    return rows


def _why(choice: Choice) -> str:
    """What became of the best settings, in words."""
    if not choice.learned:
        return tuned_settings.NOTHING_LEARNED
    return ", ".join(["chosen", *(f"the {which} {name} of those tried" for name, which in choice.at_edge.items())])


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
