"""Compare published values with ours: longlag verify [NAME…]

Runs presets of conf/experiment/published in parallel and compares each record with the value that its paper reports.
Without names, it runs the small presets, which take minutes. A value that differs is shown with the known reason; if no
reason is known, or a run failed, the exit code is 1.

Small copies of the records go to docs/results/published, and docs/published.md shows them; outside of a checkout, to
outputs/published.
"""

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from rich.markup import escape

from longlag import resume
from longlag.files import shown, write_text
from longlag.records import Record
from longlag.report import published
from longlag.report.compact import keep
from longlag.report.published import Judgement, judge
from longlag.report.terminal import wide_console
from longlag.settings import COUNT
from longlag.sweeps import published_runs
from longlag.sweeps.published_runs import Preset

ROOT = Path(__file__).parents[3]  # the root, in a checkout
KEPT = ROOT / "docs" / "results" / "published"
ELSEWHERE = Path("outputs/published")  # where an installed package, which has no docs/, stores the records
PAGE = ROOT / "docs" / "published.md"
OPENING, CLOSING = "<!-- published: written by longlag verify from docs/results/published -->", "<!-- /published -->"


def main(words: Sequence[str]) -> int:
    """Run the presets, judge their records, store and show the outcome. Returns the exit code."""
    arguments = _arguments(words)
    known = published_runs.presets()
    if arguments.list:
        wide_console().print(published.terminal_list({name: preset.published for name, preset in known.items()}))
        return 0
    to = arguments.to or (KEPT if KEPT.is_dir() else ELSEWHERE)
    if arguments.kept:
        for name in arguments.names:
            published_runs.check(name, known)
        judgements, problem = _judged(_kept(to, arguments.names or known), known), None
    else:
        found, problem = _run(arguments, known)
        for name, record in found.items():
            if record and record["status"] in resume.ENDED:
                keep(record, to / name)
        judgements = _judged(found, known)
    if to == KEPT:
        write_text(PAGE, rewritten(PAGE.read_text(encoding="utf-8"), _judged(_kept(KEPT, known), known)))
    _show(judgements)
    if problem:
        print(problem, file=sys.stderr)
    expected = [one for one in judgements if not (arguments.kept and one.verdict == published.NOT_RUN)]
    return 0 if all(judgement.settled for judgement in expected) else 1


def rewritten(text: str, judgements: Sequence[Judgement]) -> str:
    """The page with a new table between its two markers. Raises ValueError if these are missing."""
    before, opening, rest = text.partition(OPENING)
    _, closing, after = rest.partition(CLOSING)
    if not (opening and closing):
        raise ValueError(f"{PAGE.name} has no {OPENING} … {CLOSING}")
    return f"{before}{OPENING}\n{published.markdown(judgements)}{CLOSING}{after}"


def _arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="longlag verify", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="preset to run; default: all small ones")
    parser.add_argument("--large", action="store_true", help="run the large presets, too; they take hours")
    parser.add_argument("--list", action="store_true", help="list the presets and how long each takes; run nothing")
    parser.add_argument("--kept", action="store_true", help="judge the stored records; run nothing")
    parser.add_argument("--resume", metavar="FOLDER", type=Path, help="resume the runs in this folder")
    parser.add_argument("--workers", metavar="N", type=int, help="number of runs at a time; default: one for each core")
    parser.add_argument("--to", metavar="FOLDER", type=Path, help="store the records here; leave docs/ as it is")
    arguments = parser.parse_args(words)
    if arguments.workers is not None and (problem := COUNT.problem(arguments.workers)):
        raise ValueError(f"--workers {problem}")
    if arguments.to and arguments.to.exists() and not arguments.to.is_dir():
        raise ValueError(f"--to {arguments.to} is not a folder; choose another")
    return arguments


def _run(arguments: argparse.Namespace, known: Mapping[str, Preset]) -> tuple[dict[str, Record | None], str | None]:
    """Run the chosen presets. Returns the records by preset, and the error of the sweep as a whole or None."""
    folder = arguments.resume or published_runs.new_folder()
    wanted = arguments.names or (published_runs.begun(folder) if arguments.resume else [])
    names = published_runs.chosen(wanted, known, arguments.large)
    minutes = sum(known[name].published.minutes for name in names)
    print(f"{', '.join(names)}\nabout {minutes:g} minutes on one core, in {shown(folder.absolute())}", file=sys.stderr)
    problem = published_runs.run(names, folder, arguments.resume is not None, arguments.workers)
    found = published_runs.results(folder, known, names)
    if problem and not any(found.values()):  # the whole sweep was refused
        sys.exit(problem)
    again = f"longlag verify --resume {shown(folder.absolute())}"
    return found, f"longlag: not all runs finished; go on with: {again}" if problem else None


def _kept(folder: Path, names: Iterable[str]) -> dict[str, Record | None]:
    return {name: resume.begun(folder / name) for name in names}


def _judged(found: Mapping[str, Record | None], known: Mapping[str, Preset]) -> list[Judgement]:
    return [judge(name, known[name].published, found[name]) for name in sorted(found)]


def _show(judgements: Sequence[Judgement]) -> None:
    screen = wide_console()
    screen.print(published.terminal(judgements))
    for words, names in published.remarks(judgements).items():
        screen.print(f"[bold]{', '.join(names)}[/bold]: {escape(words)}", highlight=False)
