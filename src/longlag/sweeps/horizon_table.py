"""Results of searches for memory horizons in words and tables. Needs no torch."""

from collections.abc import Sequence
from typing import Any

from longlag.report import markdown as md
from longlag.sweeps.horizon import CENSORED

COLUMNS = (
    *("memory horizon", "95% interval", "largest lag solved", "smallest lag not solved"),
    *("trials", "censored", "seconds"),
)

ASSUMED = "P(solved) falls with the lag, and is one half at the horizon"
EARLIER = """
*Of an earlier search*, which doubled the lag and then bisected, estimated anew from its trials. It had {seconds:g}
computing seconds a trial, so that a model whose trials these ended, or that solved only beyond them, reaches *at least*
so far: how far, the trials cannot say. All lags were tried with the same three seeds, so that trials are not
independent and the intervals may be too narrow; and it saw little beyond the horizon, where a seed may still solve its
lag now and then.
"""


def in_words(found: dict[str, Any]) -> str:
    """The horizon with its interval, what the trials at either end came to, and what was censored."""
    solved, unsolved = found["largest_solved"], found["smallest_unsolved"]
    said = [f"95% interval {interval(found)}"]
    said += [f"largest lag solved {solved}" if solved else "nothing was solved"]
    said += [f"smallest not solved {unsolved}"] if unsolved else []
    if found["censored"]:
        said.append(f"{found['censored']} trials censored: {_why_censored(found)}")
    elif found["at_least"]:
        said.append("max_lag was reached")
    return f"{horizon(found)} ({'; '.join(said)})"


def horizon(found: dict[str, Any]) -> str:
    """The estimate in words: a number, "at least" the lower end of the interval, or "below" the first lag."""
    low, high = found["interval"]
    if low is None and high is None:
        return "not known"
    if found["at_least"]:
        return "not known" if low is None else f"at least {low}"
    value = found["memory_horizon"]
    return f"below {found['first_lag']}" if value is None else str(value)


def interval(found: dict[str, Any]) -> str:
    """The interval in words; an end that lies outside of the lags that may be tried is open."""
    low, high = found["interval"]
    if low is None:
        return "any" if high is None else f"{high} or less"
    return f"{low} or more" if high is None else f"{low} to {high}"


def entries(found: dict[str, Any]) -> list[str]:
    """The entries of a table row under `COLUMNS`."""
    seen = (str(found[name] or "–") for name in ("largest_solved", "smallest_unsolved"))
    counts = str(len(found["trials"])), str(found["censored"]), f"{found['seconds']:.0f}"
    return [horizon(found), interval(found), *seen, *counts]


def markdown(found: Sequence[dict[str, Any]]) -> str:
    """The results of several searches as a Markdown table, by name; those over a setting by its value."""
    rows = zip(names(found), found, strict=True)
    ordered = sorted(rows, key=lambda row: (list(row[1].get("over", {}).values()), row[0]))
    table = md.table(["model", *COLUMNS], ([md.code(name), *map(md.cell, entries(one))] for name, one in ordered))
    earlier = [one for one in found if one.get("earlier")]
    return table + (EARLIER.format(seconds=earlier[0]["budget"]["seconds"]) if earlier else "")


def names(found: Sequence[dict[str, Any]], without: str | None = None) -> list[str]:
    """A name for each search: its model, and the overrides that not all searches share.

    Args:
        found: the results.
        without: a setting that is left out of the names.
    """
    common = set.intersection(*(set(one["overrides"]) for one in found))
    return [" ".join([one["model"], *(w for w in one["overrides"] if _own(w, one, common, without))]) for one in found]


def _own(word: str, one: dict[str, Any], common: set[str], without: str | None) -> bool:
    return word not in common and word != f"model={one['model']}" and word.partition("=")[0] != without


def _why_censored(found: dict[str, Any]) -> str:
    """What ended the censored trials. A run that was solved beyond its limit of seconds ended as solved."""
    named = {"seconds": "budget.seconds", "solved": "budget.seconds", "no progress": "budget.seconds"}
    why = (told["ended_by"] for told in found["trials"] if told["outcome"] == CENSORED)
    return ", ".join(sorted({named.get(one, one) for one in why}))
