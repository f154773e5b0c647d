"""A run and a set of runs in Python: what `longlag.train`, `sweep`, `load` and `find` return."""

import io
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from matplotlib.figure import Figure
from rich.console import Console

from longlag.records import Record
from longlag.records.identity import flattened
from longlag.report import comparison, figures, page, summary, table
from longlag.report.artefacts import name_of
from longlag.report.groups import groups
from longlag.report.plot import png
from longlag.report.terminal import WIDE

if TYPE_CHECKING:
    from torch import Tensor

    from longlag.models.network import Network
    from longlag.tasks.task import Task

PICTURES: dict[str, Callable[[Record], Figure]] = {"lag_curve": figures.lag_curve, "gradient": figures.gradient}
RESULTS = (
    *("model", "task", "lag", "seed", "status", "ended_by", "solved", "steps_to_solve", "seconds_to_solve"),
    *("best_step", "folder"),
)


class Run:
    """One run: its record, and its network as soon as that is asked for.

    It unpacks as `network, task, record`.

    Attributes:
        record: everything that was measured; `longlag.records.schema.Record` explains each entry.
        folder: where the record, the weights and the pictures are.
    """

    def __init__(
        self,
        record: Record,
        folder: Path,
        core: Callable[..., Any] | None = None,
        loaded: "tuple[Network, Task] | None" = None,
    ):
        self.record, self.folder = record, folder
        self._core, self._loaded = core, loaded

    @property
    def network(self) -> "Network":
        """The trained network with the weights of the best validation. Raises as `longlag.load` does."""
        return self._with_network()[0]

    @property
    def task(self) -> "Task":
        """The task that the network was trained on."""
        return self._with_network()[1]

    @property
    def accuracy(self) -> float | None:
        """The test accuracy at the lag of the run; None if it was not tested."""
        return self.record["test"]["accuracy"] if self.record["test"] else None

    def predict(self, inputs: "Tensor") -> "Tensor":
        """The outputs of the network at every step, in evaluation mode.

        Args:
            inputs: (batch, time) token numbers, or (batch, time, features) real values, as `task.batch` makes them.

        Returns:
            (batch, time, outputs): for a task with tokens, the logits of its classes, so that `.argmax(-1)` is the
            prediction.
        """
        import torch

        every = torch.arange(inputs.shape[1]).expand(len(inputs), -1)
        with torch.no_grad():
            return self.network.eval()(inputs, every)

    def plot(self, what: str = "lag_curve") -> Figure:
        """A picture of the run.

        Args:
            what: `lag_curve`, the accuracy against the tested lag, or `gradient`, the gradient over distance.

        Raises ValueError if the run has no such measurement.
        """
        if what not in PICTURES or not self.record[what]:  # type: ignore[literal-required]
            raise ValueError(f"{name_of(self.record)} has no picture {what}; there are {', '.join(self._pictures())}")
        return PICTURES[what](self.record)

    def _pictures(self) -> list[str]:
        return [name for name in PICTURES if self.record[name]]  # type: ignore[literal-required]

    def _with_network(self) -> "tuple[Network, Task]":
        if self._loaded is None:
            from longlag.run import load

            network, task, _ = load(self.folder, self._core)
            self._loaded = network, task
        return self._loaded

    def __iter__(self) -> Iterator[Any]:
        return iter((*self._with_network(), self.record))

    def __repr__(self) -> str:
        return f"<Run {name_of(self.record)}: {self.record['status']}, {self.folder}>"

    def __str__(self) -> str:
        return f"{_printed(summary.table(self.record))}\n{self.folder}"

    def _repr_html_(self) -> str:
        """The run in a notebook: its table and its lag curve."""
        rows = "".join(
            f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in summary.rows(self.record)
        )
        curve = ""
        if self.record["lag_curve"]:
            picture = b64encode(png(self.plot())).decode()
            curve = f'<img alt="accuracy against lag" src="data:image/png;base64,{picture}">'
        return f"<p><b>{escape(name_of(self.record))}</b></p><table>{rows}</table>{curve}"


class Runs(Sequence[Run]):
    """A set of runs; printed, or shown in a notebook, it is the table of `longlag table`."""

    def __init__(self, runs: Iterable[Run]):
        self._runs = list(runs)

    @property
    def records(self) -> list[Record]:
        """The records of all runs."""
        return [run.record for run in self._runs]

    def plot(self) -> Figure:
        """Accuracy against lag, beside the gradient over distance. Raises ValueError if no run finished."""
        return comparison.gap(groups(self.records))

    def report(self, path: str | Path, title: str = "longlag report") -> Path:
        """Write the HTML page of these runs to a file; returns its path."""
        page.write(self.records, Path(path), title)
        return Path(path)

    def to_frame(self) -> Any:
        """A pandas DataFrame with a row for each run: how it ended, `test.*`, `cost.*`, and `config.*`, its settings.

        Raises ImportError if pandas is not installed: `pip install 'longlag[pandas]'`.
        """
        try:
            import pandas
        except ImportError as error:
            raise ImportError("to_frame needs pandas: pip install 'longlag[pandas]'") from error
        return pandas.DataFrame([_row(run) for run in self._runs])

    @overload
    def __getitem__(self, index: int) -> Run: ...
    @overload
    def __getitem__(self, index: slice) -> "Runs": ...
    def __getitem__(self, index: int | slice) -> "Run | Runs":
        return Runs(self._runs[index]) if isinstance(index, slice) else self._runs[index]

    def __len__(self) -> int:
        return len(self._runs)

    def __repr__(self) -> str:
        return f"<{len(self)} runs>"

    def __str__(self) -> str:
        return _printed(table.terminal(table.rows(self.records)))

    def _repr_html_(self) -> str:
        """The runs in a notebook."""
        return page.table_of(table.rows(self.records))


def _row(run: Run) -> dict[str, Any]:
    """A run as a row of a data frame."""
    record: Any = run.record | {"folder": str(run.folder)}
    several = {name: record[name] for name in ("test", "cost", "config")}
    return {name: record[name] for name in RESULTS} | flattened(several)


def _printed(shown: Any) -> str:
    console = Console(file=io.StringIO(), width=WIDE, force_jupyter=False, force_terminal=False)
    console.print(shown)
    return console.file.getvalue().rstrip("\n")  # type: ignore[attr-defined]
