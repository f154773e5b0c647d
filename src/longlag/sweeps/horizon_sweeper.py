"""The search for memory horizons as a Hydra sweeper: trials are runs of a sweep, chosen as results come in.

Needs no torch.
"""

import json
import logging
from collections.abc import Sequence
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
from longlag.settings import Range
from longlag.sweeps.horizon import Search, entries, in_words, names, trial
from longlag.sweeps.launcher import Sweep

log = logging.getLogger(__name__)

FILE = "horizon.json"  # in the sweep's folder: the results of the searches
SEARCHED = ("lag", "seed")  # settings that the search itself chooses


class Line:
    """One search: the overrides that all its trials share, and the state of the search."""

    def __init__(self, overrides: list[str], search: Search):
        self.overrides, self.search = overrides, search
        self.about: dict[str, Any] = {"overrides": overrides, "seeds": search.seeds, "resolution": search.resolution}

    @property
    def name(self) -> str:
        """The overrides as the user wrote them, without `experiment` and `resume`."""
        return " ".join(word for word in self.overrides if word.partition("=")[0] not in ("experiment", "resume"))


class Horizon(Sweeper):
    """Searches the memory horizon for every combination of the given overrides, all of them in parallel.

    Args:
        first_lag: the first and smallest lag to try.
        max_lag: the largest lag to try.
        seeds: how many seeds to run at each lag; at least half of them must solve it.
        resolution: the factor within which the horizon is found, above 1.

    Raises:
        ValueError: if an argument is out of its range.
    """

    def __init__(self, first_lag: int, max_lag: int, seeds: int, resolution: float):
        counts = {"first_lag": first_lag, "seeds": seeds, "max_lag": max_lag}
        for name, value in counts.items():
            low = first_lag if name == "max_lag" else 1
            if problem := Range(whole=True, low=low).problem(value):
                raise ValueError(f"hydra.sweeper.{name} {problem}")
        if problem := Range(whole=False, low=1, above=True).problem(resolution):
            raise ValueError(f"hydra.sweeper.resolution {problem}")
        self.first_lag, self.max_lag, self.seeds, self.resolution = first_lag, max_lag, seeds, resolution

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
        lines = [Line(overrides, self._search()) for overrides in self._combinations(arguments)]
        folder = Path(self._config.hydra.sweep.dir)
        folder.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(self._config, folder / resume.GRID)
        try:
            with self._trials.at_work(len(lines) * lines[0].search.needed):
                self._go_on(lines)
        except KeyboardInterrupt as stop:
            raise KeyboardInterrupt(f"the search was stopped; {self._trials.going_on}") from stop
        found = [{**line.about, **line.search.found} for line in lines]
        write_text(folder / FILE, json.dumps(found, indent=1) + "\n")
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
                log.info("%s: %s", line.name, line.search)

    def _search(self) -> Search:
        return Search(self.first_lag, self.max_lag, self.seeds, self.resolution)

    def _combinations(self, arguments: list[str]) -> list[list[str]]:
        """Every combination of the given overrides. Raises ValueError for lag or seed, which the search itself sets."""
        overrides = OverridesParser.create(self._context.config_loader).parse_overrides(arguments)
        for override in overrides:
            if override.key_or_group in SEARCHED:
                raise ValueError(
                    f"{override.input_line}: the search chooses lag and seed itself; give first_lag, max_lag or seeds"
                )
        (batch,) = BasicSweeper.split_arguments(overrides, max_batch_size=None)
        return [list(words) for words in batch]


def show(found: Sequence[dict[str, Any]], folder: Path) -> None:
    """Print a table if there are several searches, and a line for each."""
    console = wide_console()
    if len(found) > 1:
        table = Table(
            "model", "task", "memory horizon", "every trial solved up to", "none solved from", "trials", "seconds"
        )
        for name, one in zip(names(found), found, strict=True):
            table.add_row(name, one["task"], *entries(one))
        console.print(table)
    console.print(f"searches {shown(folder.absolute() / FILE)}", highlight=False, soft_wrap=True)
    for name, one in zip(names(found), found, strict=True):
        said = f"memory_horizon of {name} on {one['task']}: {in_words(one)}; {len(one['trials'])} trials"
        console.print(said, highlight=False, soft_wrap=True, markup=False)
