"""Shows the results of a run in the terminal. Needs no torch."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from longlag.files import shown
from longlag.records import FILE, Record
from longlag.records.schema import LagPoint
from longlag.report import provenance, terminal
from longlag.report.artefacts import pictures


def show(record: Record, folder: Path, console: Console | None = None) -> None:
    """Print the table of the run, its lag curve, its generated text and the paths of its files."""
    console = console or Console()
    console.print(table(record))
    if record["lag_curve"]:
        show_lag_curve(record, console)
    show_example(record, console)
    console.print(f"record   {shown(folder / FILE)}", highlight=False, soft_wrap=True)
    for path in reversed(pictures(record, folder)):  # the most important picture is printed last, next to the prompt
        console.print(f"picture  {shown(path)}", highlight=False, soft_wrap=True)


def show_example(record: Record, console: Console) -> None:
    """Print the artefacts that are text."""
    for artefact in record["example"].values():
        if artefact["kind"] == "text":
            console.print(Panel(Text(artefact["text"]), title=artefact["title"], title_align="left", expand=False))


def show_lag_curve(record: Record, console: Console) -> None:
    """Print the lag curve drawn with characters, in colour if the console is a terminal."""
    console.print(Text.from_ansi(terminal.lag_curve(record, console.is_terminal)), soft_wrap=True)


def table(record: Record) -> Table:
    """The table of one run: status, accuracy and chance, loss, the gradient over the lag, and cost."""
    title = f"{record['model']} · {record['task']} · lag {record['lag']} · seed {record['seed']}"
    shown = Table(title=title, show_header=False, title_justify="left")
    for name, value in rows(record):
        shown.add_row(name, Text(value))
    return shown


def lag_table(curve: Sequence[LagPoint]) -> Table:
    """The table of a lag curve: one row for each tested lag."""
    rows = Table("lag", "accuracy", "chance", "loss", "sequences")
    for point in curve:
        figures = f"{point['accuracy']:.3f}", f"{point['chance']:.3f}", _loss(point["loss"])
        rows.add_row(str(point["lag"]), *figures, str(point["sequences"]))
    return rows


def _loss(value: float | None) -> str:
    """A loss as text. A loss that is not finite is stored as None."""
    return "not finite" if value is None else f"{value:.4f}"


def rows(record: Record) -> list[tuple[str, str]]:
    """The rows of the table of one run: what it is about, and the value in words."""
    test, cost = record["test"], record["cost"]
    found = [("status", _status(record))]
    if test:
        found.append(("test accuracy", f"{test['accuracy']:.3f}   (chance {test['chance']:.3f})"))
        found.append(
            ("test loss", f"{_loss(test['loss'])}   (memoryless baseline {_loss(test.get('memoryless_loss'))})")
        )
        if "bits_per_character" in test:
            found.append(("", f"{test['bits_per_character']:.3f} bits per character"))
        if len(positions := test.get("accuracy_by_position", [])) > 1:
            shares = " ".join(f"{accuracy:.2f}" for accuracy in positions)
            found.append(
                ("accuracy by position", f"{shares}   (lowest at position {positions.index(min(positions)) + 1})")
            )
    elif curve := record["learning_curve"]:
        found.append(("validation accuracy", f"{curve[-1]['accuracy']:.3f}   (no test)"))
    found += [(f"gradient over the lag, step {step}", value) for step, value in _gradient_over_lag(record)]
    if origin := ", ".join(filter(None, (of(record) for of in provenance.KINDS))):
        found.append(("settings, size", origin))
    if cost.get("seconds") is not None:
        kernels = record["environment"].get("kernels")
        ran = f", {kernels} kernels" if kernels else ""
        found.append(
            ("cost", f"{cost['steps']} steps, {cost['seconds']:.0f} s{ran}, {cost['parameters']:,} parameters")
        )
    return found


def _status(record: Record) -> str:
    if record["status"] != "finished":
        return f"{record['status']}: {record['error']}"
    if not record["solved"]:
        wanted = record["config"]["task"].get("solved_at")
        return "finished" if wanted is None else f"not solved: {_missed(record, wanted)}; {_more(record)}"
    seconds = f"{record['seconds_to_solve']:.0f} s"
    return f"solved at step {record['steps_to_solve']} ({record['sequences_to_solve']:,} sequences, {seconds})"


def _missed(record: Record, wanted: float) -> str:
    """Why a finished run does not count as solved, in words."""
    curve = record["learning_curve"]
    if not curve:
        return "it was never validated"
    best = max(curve, key=lambda point: point["accuracy"])
    if best["accuracy"] < wanted:
        return f"the best validation accuracy was {best['accuracy']:.3f}, at step {best['step']}, below {wanted}"
    good = [point for point in curve if point["accuracy"] >= wanted][-1]
    where = "the last" if good is curve[-1] else "but not at the next"
    where = "the only" if len(curve) == 1 else where
    return (
        f"validation accuracy {good['accuracy']:.3f} at step {good['step']}, {where} validation; "
        f"{wanted} must hold at two consecutive ones"
    )


def _more(record: Record) -> str:
    """Which setting to change so that a run that was not solved can train longer."""
    config, ended_by = record["config"], record["ended_by"]
    budget = config["budget"]
    if ended_by == "no progress":
        share = budget["no_progress_at"]
        return (
            f"it ended early because it made no progress (budget.no_progress_at={share}): "
            "raise that value, or try another lr"
        )
    limits = {"sequences": budget["sequences"], "seconds": budget["seconds"]}
    setting = f"budget.{ended_by}={limits[ended_by]}" if ended_by in limits else f"max_steps={config['max_steps']}"
    lower = f", or lower validation.every={config['validation']['every']}" if len(record["learning_curve"]) < 2 else ""
    return f"raise {setting}{lower}"


def _gradient_over_lag(record: Record) -> list[tuple[int, str]]:
    """g(lag) / g(0) at the first and the last measurement: the share of the gradient that reaches back over the lag."""
    norms = {(point["step"], point["distance"]): point["log10_norm"] for point in record["gradient"]}
    # The largest measured distance that is not beyond the lag.
    lag = max((distance for _, distance in norms if distance <= record["lag"]), default=0)
    rows = []
    steps = sorted({step for step, _ in norms})
    for step in dict.fromkeys([*steps[:1], *steps[-1:]]):
        near, far = norms[step, 0], norms[step, lag]
        rows.append((step, "0" if near is None or far is None else f"10^{far - near:.1f} of what it is at distance 0"))
    return rows
