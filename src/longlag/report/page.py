"""The report of a set of runs: one self-contained HTML page. Reads only records; needs no torch and no network.

All text from records (names, settings, errors, generated text) is escaped, so that the page is safe to open.
"""

import json
from base64 import b64encode
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

from longlag.files import write_text
from longlag.records import Record
from longlag.records.identity import flattened
from longlag.report import artefacts, gates, panels, provenance, table
from longlag.report.chart import Chart
from longlag.report.groups import Group, groups
from longlag.report.statistics import ENOUGH_SEEDS, IN_WORDS, Estimate, accuracy
from longlag.report.svg import figure

HERE = Path(__file__).parent
LIST_UP_TO = 200  # lines shown of a list of commands or failures


def write(runs: Sequence[Record], path: Path, title: str) -> None:
    """Write the page, atomically."""
    write_text(path, page(runs, title))


def page(runs: Sequence[Record], title: str) -> str:
    """The HTML text of the whole page.

    Args:
        runs: records of any status and any task.
        title: the heading of the page.
    """
    every = groups(runs)
    finished = [group for group in every if group.finished]
    style = panels.styles(every)
    tasks = sorted({group.task for group in finished})
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="soft">{escape(_what_there_is(runs))}</p>',
        *_warnings(every),
        *(_of_task(task, [group for group in finished if group.task == task], style) for task in tasks),
        "<h2>Table</h2>",
        table_of(table.rows(runs)),
        "<h2>What was run</h2>",
        _what_was_run(runs),
    ]
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_asset('page.css')}</style></head><body>{''.join(parts)}<script>{_asset('page.js')}</script></body></html>\n"
    )


def _asset(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")


def _what_there_is(runs: Sequence[Record]) -> str:
    statuses = Counter(run["status"] for run in runs)
    how = ", ".join(f"{number} {status}" for status, number in sorted(statuses.items()))
    commits = sorted({str(run["environment"].get("commit")) for run in runs if run["environment"]})
    return f"{len(runs)} runs ({how}); commit {', '.join(commits) or 'unknown'}"


def _warnings(every: Sequence[Group]) -> Iterator[str]:
    """Warnings about too few seeds, runs that did not finish and unequal budgets."""
    finished = [group for group in every if group.finished]
    if not finished:
        yield _warning("None of these runs finished, so there is nothing to draw. Their errors are listed below.")
        return
    few = [group for group in finished if len(group.finished) < ENOUGH_SEEDS]
    if few:
        fewest = min(len(group.finished) for group in few)
        yield _warning(
            f"{len(few)} of {len(finished)} groups have fewer than {ENOUGH_SEEDS} seeds (at least one has {fewest}): "
            "they have a range instead of an interval, and no model is tested against another."
        )
    lost = sum(len(group.runs) - len(group.finished) for group in every)
    if lost:
        yield _warning(f"{lost} runs did not finish. They are in no chart; they are listed below.")
    for task in sorted({group.task for group in finished}):
        yield from _unequal([run for group in finished if group.task == task for run in group.finished], task)


def _unequal(runs: Sequence[Record], task: str) -> Iterator[str]:
    """Warnings if the runs of one task differ in parameters, in tuning or in training sequences."""
    of_cores = all(run["config"]["budget"].get("core_parameters") for run in runs)  # the cores were matched
    sizes = sorted({run["cost"]["core_parameters" if of_cores else "parameters"] for run in runs})
    if sizes[-1] > 1.1 * sizes[0]:  # matching parameters by the width leaves small differences
        which = "cores" if of_cores else "models"
        yield _warning(f"{task}: the {which} differ in their parameters, from {sizes[0]:,} to {sizes[-1]:,}.")
    yield from map(_warning, provenance.remarks(runs, task))
    budgets = sorted({run["config"]["max_steps"] * run["config"]["batch_size"] for run in runs})
    # The models that have a run with tuned settings, and all models.
    tuned, every = ({run["model"] for run in runs if run["config"].get("tuned") or some} for some in (False, True))
    if tuned and tuned < every:
        yield _warning(
            f"{task}: these models were tuned: {', '.join(sorted(tuned))}; "
            f"these were not: {', '.join(sorted(every - tuned))}."
        )
    if len(budgets) > 1:
        yield _warning(f"{task}: the budgets differ, from {budgets[0]:,} to {budgets[-1]:,} training sequences.")
    for model in sorted(every):
        kernels = {run["environment"].get("kernels", "other") for run in runs if run["model"] == model}
        if len(kernels) > 1:
            yield _warning(
                f"{task}: the runs of {model} used different kernels ({', '.join(sorted(kernels))}): their results are "
                "equal up to rounding, but their times cannot be compared."
            )


def _warning(words: str) -> str:
    return f'<p class="warn">{escape(words)}</p>'


def _of_task(task: str, ours: Sequence[Group], style: panels.Styles) -> str:
    """The section of one task with all its panels."""
    several = len({group.lag for group in ours}) > 1
    solving = [panels.success(ours, style), panels.steps_to_solve(ours, style), panels.learning(ours, style)]
    return "".join(
        [
            f"<h2>{escape(task)}</h2>",
            _in_a_sentence(ours),
            _charts([panels.headline(ours, style), panels.gradient(ours, style)]),
            _section(
                "Trained at one lag, tested at others", _charts([panels.tested(ours, style)] * several), _matrices(ours)
            ),
            _section("Learning", _charts(solving, "small")),
            _section("Cost", _charts(panels.costs(ours, style), "small")),
            _examples(ours),
        ]
    )


def _section(heading: str, *parts: str) -> str:
    """The parts under a heading, or an empty string if all parts are empty."""
    return f"<h3>{heading}</h3>{''.join(parts)}" if any(parts) else ""


def _in_a_sentence(ours: Sequence[Group]) -> str:
    """The test accuracy of each model at the largest lag, in one sentence."""
    tested = table.with_test(ours)
    if not tested:
        return "<p>These runs were not tested (eval.sequences=0).</p>"
    lag = max(group.lag for group in tested)
    shown = [group for group in tested if group.lag == lag]
    scores = [(group.name, accuracy(group.finished)) for group in shown]
    chance = shown[0].finished[0]["test"]["chance"]
    said = ", ".join(f"{name} {score.value:.2f}{score.bounds('.2f')}" for name, score in scores)
    return f"<p>Test accuracy at lag {lag} (chance {chance:.3f}): {escape(said)}.</p>"


def _charts(charts: Iterable[Chart], size: str = "") -> str:
    drawn = "".join(map(figure, charts))
    return f'<div class="charts {size}">{drawn}</div>' if drawn else ""


def _matrices(ours: Sequence[Group]) -> str:
    """Accuracy by trained and tested lag: a matrix for each model that was trained at several lags."""
    found = table.matrix([run for group in ours for run in group.runs])
    shown = [_matrix(name, rows) for (_, name), rows in found.items() if len(rows) > 1]
    return f'<div class="matrices">{"".join(shown)}</div>' if shown else ""


def _matrix(name: str, rows: dict[int, dict[int, Estimate]]) -> str:
    at = sorted({lag for row in rows.values() for lag in row})
    head = "".join(f"<th>{lag}</th>" for lag in at)
    body = "".join(
        f"<tr><th>{lag}</th>{''.join(_heat(row.get(tested), lag == tested) for tested in at)}</tr>"
        for lag, row in rows.items()
    )
    return (
        f'<figure><figcaption>{escape(name)}: trained at (rows), tested at (columns)</figcaption><div class="scroll">'
        f'<table class="matrix"><thead><tr><th></th>{head}</tr></thead><tbody>{body}</tbody></table></div></figure>'
    )


def _heat(estimate: Estimate | None, own: bool) -> str:
    if estimate is None:
        return "<td></td>"
    return f'<td class="heat{" own" * own}" style="--v:{estimate.value:.2f}">{estimate.value:.2f}</td>'


def _examples(ours: Sequence[Group]) -> str:
    """The artefacts and gate pictures of the first run of each model at the largest lag."""
    lag = max(group.lag for group in ours)
    firsts = [group.finished[0] for group in ours if group.lag == lag]
    found = [(artefact, artefacts.name_of(run)) for run in firsts for artefact in run["example"].values()]
    texts = [artefacts.html(artefact, name) for artefact, name in found if artefact["kind"] == "text"]
    drawn = [artefacts.html(artefact, name) for artefact, name in found if artefact["kind"] != "text"]
    grid = f'<div class="charts small">{"".join(drawn)}</div>' if drawn else ""
    return "".join([grid, *texts, *map(_gates, firsts)])


def _gates(run: Record) -> str:
    """The picture that `longlag gates` wrote to the folder of the run, or an empty string without one."""
    if "folder" not in run:
        return ""
    path = Path(run["folder"]) / gates.PICTURE
    if path.is_symlink() or not path.is_file():  # a link could embed any private file in a page that is sent to others
        return ""
    picture, name = b64encode(path.read_bytes()).decode(), escape(artefacts.name_of(run))
    caption = f"<figcaption>Gates of {name}</figcaption>"
    return f'<figure>{caption}<img alt="Gates of {name} over time" src="data:image/png;base64,{picture}"></figure>'


def table_of(rows: Sequence[table.Row]) -> str:
    """An HTML table that can be sorted by each column. Columns without an entry are left out."""
    used = [column for column in table.COLUMNS if any(row[column] is not None for row in rows)]
    head = "".join(f"<th><button>{escape(column)}</button></th>" for column in used)
    body = "".join(f"<tr>{''.join(_entry(row, column) for column in used)}</tr>" for row in rows)
    shown = f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    return f"{shown}<p>{escape(IN_WORDS)}.</p>"


def _entry(row: table.Row, column: str) -> str:
    value = row[column]
    first = value[0] if isinstance(value, tuple) else value
    # page.js sorts by this key: "beyond the budget" (inf) comes after all numbers.
    key = "" if first is None else {"inf": "1e99"}.get(str(first), str(first))
    return f'<td data-sort="{escape(key)}">{escape(table.text(row, column))}</td>'


def _what_was_run(runs: Sequence[Record]) -> str:
    """The failures, the settings that all runs share, versions and hardware, and the command of each run."""
    failed = [run for run in runs if run["status"] != "finished"]
    parts = []
    if failed:
        lines = [f"{artefacts.name_of(run)}: {run['status']}, {run['error']}" for run in failed]
        parts.append(f"<h3>Not finished</h3>{_list(lines)}")
    parts.append(
        f"<details><summary>The settings that all runs share</summary><pre>{escape(_shared(runs))}</pre></details>"
    )
    places = Counter(json.dumps(run["environment"], sort_keys=True) for run in runs if run["environment"])
    parts.append(
        "<h3>Versions and hardware</h3>" + _list(f"{number} runs: {where}" for where, number in places.items())
    )
    commands = [str(run["command"]) for run in runs if run["command"]]
    parts.append(f"<details><summary>The command of each run</summary>{_list(commands)}</details>")
    return "".join(parts)


def _list(lines: Iterable[str]) -> str:
    lines = list(lines)
    more = [f"… and {len(lines) - LIST_UP_TO} more"] if len(lines) > LIST_UP_TO else []
    return f"<pre>{escape(chr(10).join([*lines[:LIST_UP_TO], *more]))}</pre>"


def _shared(runs: Sequence[Record]) -> str:
    """The settings that are equal in all runs, as lines of `key: value`."""
    settings: list[dict[str, Any]] = [flattened(run["config"]) for run in runs]
    same = {
        key: value for key, value in settings[0].items() if all(key in one and one[key] == value for one in settings)
    }
    return "\n".join(f"{key}: {value}" for key, value in same.items())
