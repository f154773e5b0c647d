"""The search for memory horizons as a Hydra sweeper: trials are runs of a sweep, chosen as results come in.

Needs no torch.
"""

import json
import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf
from rich.table import Table

from longlag import resume
from longlag.files import first_line, shown, write_text
from longlag.report.terminal import wide_console
from longlag.settings import Range, said
from longlag.sweeps.horizon import Search, trial
from longlag.sweeps.horizon_table import ASSUMED, COLUMNS, entries, in_words, interval, names
from longlag.sweeps.launcher import Sweep

log = logging.getLogger(__name__)

FILE = "horizon.json"  # in the sweep's folder: the results of the searches
PICTURE, OVER = "horizon.png", "horizon_over.png"  # beside it: all trials, and the horizons over a setting
LOST = ("failed", "interrupted")  # statuses of runs that resuming tries again
SEARCHED = ("lag", "seed")  # settings that the search itself chooses


class Line:
    """One search: the overrides that all its trials share, and the state of the search."""

    def __init__(self, overrides: list[str], search: Search, over: dict[str, float]):
        self.overrides, self.search = overrides, search
        self.about: dict[str, Any] = {"overrides": overrides} | ({"over": over} if over else {})

    @property
    def name(self) -> str:
        """The overrides as the user wrote them, without `experiment` and `resume`."""
        return " ".join(word for word in self.overrides if word.partition("=")[0] not in ("experiment", "resume"))

    @property
    def found(self) -> dict[str, Any]:
        """The result, as `horizon.json` has it."""
        return {**self.about, **self.search.found}


class Horizon(Sweeper):
    """Searches the memory horizon for every combination of the given overrides, all of them in parallel.

    Args:
        first_lag: the smallest lag to try.
        max_lag: the largest lag to try.
        trials: how many trials a search takes at most; each has a seed of its own.
        resolution: a search ends sooner if the ends of its interval are within this factor; above 1.
        at_once: how many trials of one search run side by side.
        over: a setting with several numbers as values: the horizons are drawn against it.

    Raises:
        ValueError: if an argument is out of its range.
    """

    def __init__(
        self, first_lag: int, max_lag: int, trials: int, resolution: float, at_once: int, over: str | None = None
    ):
        for name, value in {"first_lag": first_lag, "max_lag": max_lag, "trials": trials, "at_once": at_once}.items():
            low = first_lag if name == "max_lag" else 1
            if problem := Range(whole=True, low=low).problem(value):
                raise ValueError(f"hydra.sweeper.{name} {problem}")
        if problem := Range(whole=False, low=1, above=True).problem(resolution):
            raise ValueError(f"hydra.sweeper.resolution {problem}")
        self._new_search = partial(Search, first_lag, max_lag, trials, resolution, at_once)
        self._at_once, self._over = at_once, over

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Hydra calls this before the sweep. Raises ValueError if the launcher is not one of longlag's."""
        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )
        if not isinstance(launcher, Sweep):
            raise ValueError("the search needs one of longlag's launchers, such as hydra/launcher=processes")
        self._trials, self._context, self._config = launcher, hydra_context, config

    def sweep(self, arguments: list[str]) -> list[dict[str, Any]]:
        """Run the searches. Returns the result of each combination, as `horizon.json` has it."""
        from longlag.report.plot import save  # --help must not pay for matplotlib
        from longlag.sweeps import horizon_charts

        lines = [Line(words, self._new_search(), self._value(words)) for words in self._combinations(arguments)]
        folder = Path(self._config.hydra.sweep.dir)
        folder.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(self._config, folder / resume.GRID)
        try:
            with self._trials.at_work(len(lines) * self._at_once):
                self._go_on(lines)
        except KeyboardInterrupt as stop:
            raise KeyboardInterrupt(f"the search was stopped; {self._trials.going_on}") from stop
        found = [line.found for line in lines]
        write_text(folder / FILE, json.dumps(found, indent=1) + "\n")
        save(horizon_charts.trials(found), folder / PICTURE)
        if self._over:
            save(horizon_charts.over(found), folder / OVER)
        show(found, folder)
        return found

    def _go_on(self, lines: Sequence[Line]) -> None:
        """Run rounds of trials until no search asks for more."""
        begun = 0
        while wanted := [(line, lag, seed) for line in lines for lag, seed in line.search.ask()]:
            words = [[*line.overrides, f"lag={lag}", f"seed={seed}"] for line, lag, seed in wanted]
            now = self._trials.compose(words, begun)
            self._trials.check(now)
            if any(run.settings.task.get("solved_at") is None for run in now):
                raise ValueError(
                    "no run can count as solved: set task.solved_at to a validation accuracy, such as 0.99"
                )
            if not begun:
                folder = shown(Path(self._config.hydra.sweep.dir).absolute())
                log.info("searching; a search that is stopped goes on with resume=%s", folder)
            begun += len(now)
            returns: dict[int, JobReturn] = {}
            self._trials.finish(now, returns)
            for (line, _, _), run in zip(wanted, now, strict=True):
                record = run.record
                if record is None:
                    raise ValueError(f"{run.name}: {first_line(returns[run.number]._return_value)}")
                line.search.tell(trial(record))
                line.about |= {"model": record["model"], "task": record["task"], "budget": record["config"]["budget"]}
            for line in dict.fromkeys(line for line, _, _ in wanted):
                found = line.search.found
                log.info("%s: the horizon is %s after %d trials", line.name, interval(found), len(found["trials"]))

    def _combinations(self, arguments: list[str]) -> list[list[str]]:
        """Every combination of the given overrides. Raises ValueError for lag or seed, which the search itself sets."""
        overrides = OverridesParser.create(self._context.config_loader).parse_overrides(arguments)
        for override in overrides:
            if override.key_or_group in SEARCHED:
                raise ValueError(
                    f"{override.input_line}: the search chooses lag and seed itself; give first_lag, max_lag or trials"
                )
        if self._over and not any(one.key_or_group == self._over and one.is_sweep_override() for one in overrides):
            raise ValueError(f"over={self._over} needs values, such as over=model.hidden_size=16,32,64")
        (batch,) = BasicSweeper.split_arguments(overrides, max_batch_size=None)
        return [list(words) for words in batch]

    def _value(self, words: Sequence[str]) -> dict[str, float]:
        """The number that these overrides give to the setting `over`. Raises ValueError if it is none."""
        parser = OverridesParser.create()
        given = (parser.parse_override(word) for word in words if word.partition("=")[0] == self._over)
        found: dict[str, Any] = {one.key_or_group: one.value() for one in given}
        for name, value in found.items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ValueError(f"over={name}: its values must be numbers, got {said(value)}")
        return found


def show(found: Sequence[dict[str, Any]], folder: Path) -> None:
    """Print a table if there are several searches, the files, and a line for each search."""
    console = wide_console()
    if len(found) > 1:
        table = Table("model", "task", *COLUMNS)
        for name, one in zip(names(found), found, strict=True):
            table.add_row(name, one["task"], *entries(one))
        console.print(table)
    if lost := sum(told["ended_by"] in LOST for one in found for told in one["trials"]):
        again = f"{lost} trials did not finish; resume={shown(folder.absolute())} tries them again"
        console.print(again, highlight=False, soft_wrap=True, markup=False)
    console.print(f"assumed      {ASSUMED}", highlight=False, soft_wrap=True)
    for what, name in (("searches", FILE), ("trials", PICTURE), ("over", OVER)):
        if (folder / name).exists():
            console.print(f"{what:12} {shown(folder.absolute() / name)}", highlight=False, soft_wrap=True)
    for name, one in zip(names(found), found, strict=True):
        outcome = f"memory_horizon of {name} on {one['task']}: {in_words(one)}; {len(one['trials'])} trials"
        console.print(outcome, highlight=False, soft_wrap=True, markup=False)
