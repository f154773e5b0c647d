"""Compares measured results with published values. Reads only records; needs no torch.

A preset in `conf/experiment/published` states the published value, and the record of its run is compared with it.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Self

from rich.markup import escape
from rich.table import Table

from longlag.records import Record
from longlag.report import markdown as md

AGREES, BETTER, DIFFERS, FAILED, NOT_RUN = "agrees", "better", "differs", "failed", "not run"
SIDES = ("lower", "higher", None)
SIZES = ("small", "large")
COLUMNS = ("preset", "source", "figure", "published", "accepted", "measured", "ratio", "verdict")
LISTED = ("preset", "source", "figure", "published", "accepted", "on one core", "size")


class Published(NamedTuple):
    """A published value, as a preset states it.

    Attributes:
        source: the paper, and the place in it.
        figure: dotted key of the record that is compared, such as `sequences_to_solve` or `test.loss`.
        value: the published value.
        tolerance: a factor above 1; measured values from value / tolerance to value x tolerance agree.
        better: `lower` or `higher`: the side on which values outside this range are better. None: neither side is.
        protocol: how our protocol differs from that of the paper.
        reason: why the measured value differs; None if it does not differ or the reason is unknown.
        minutes: approximate duration of the run on one CPU core.
        size: `small`, or `large`: a large preset runs only if it is named.
    """

    source: str
    figure: str
    value: float
    tolerance: float
    better: str | None
    protocol: str
    reason: str | None
    minutes: float
    size: str

    @classmethod
    def of(cls, settings: Mapping[str, Any] | None) -> Self:
        """Build it from the settings of a preset. Raises ValueError, in one line, if they are incomplete or wrong."""
        given = dict(settings or {})
        if given.keys() != set(cls._fields):
            wrong = sorted(given.keys() ^ set(cls._fields))
            raise ValueError(
                f"published must have exactly the keys {', '.join(cls._fields)}; "
                f"missing or unknown: {', '.join(map(str, wrong))}"
            )
        stated = cls(**given)
        for problem in stated._problems():
            raise ValueError(f"published.{problem}")
        return stated

    def _problems(self) -> Iterable[str]:
        for name in ("source", "figure", "protocol"):
            if not isinstance(getattr(self, name), str) or not getattr(self, name).strip():
                yield f"{name} must be a text, got {getattr(self, name)}"
        for name, low in (("value", 0), ("tolerance", 1), ("minutes", 0)):
            number = getattr(self, name)
            if not isinstance(number, int | float) or isinstance(number, bool) or not low < number < math.inf:
                yield f"{name} must be a number above {low}, got {number}"
        if self.better not in SIDES:
            yield f"better must be lower, higher or null, got {self.better}"
        if self.size not in SIZES:
            yield f"size must be small or large, got {self.size}"
        if self.reason is not None and (not isinstance(self.reason, str) or not self.reason.strip()):
            yield f"reason must be a text or null, got {self.reason}"

    @property
    def low(self) -> float:
        """The smallest value that agrees."""
        return self.value / self.tolerance

    @property
    def high(self) -> float:
        """The largest value that agrees."""
        return self.value * self.tolerance

    def verdict(self, measured: float | None) -> str:
        """AGREES, BETTER or DIFFERS. A missing value differs, such as `steps_to_solve` of a run that was not solved."""
        if measured is None:
            return DIFFERS
        if self.low <= measured <= self.high:
            return AGREES
        return BETTER if self.better == ("lower" if measured < self.low else "higher") else DIFFERS


class Judgement(NamedTuple):
    """The outcome of one preset.

    Attributes:
        name: of the preset.
        published: the published value that the preset states.
        verdict: AGREES, BETTER or DIFFERS; FAILED if the run did not finish, NOT_RUN if there is no run.
        measured: the value in the record; None if there is none.
        note: why there is no measured value.
    """

    name: str
    published: Published
    verdict: str
    measured: float | None = None
    note: str | None = None

    @property
    def settled(self) -> bool:
        """Whether nothing is left to explain: the value agrees, is better, or the preset says why it differs."""
        return self.verdict in (AGREES, BETTER) or (self.verdict == DIFFERS and self.published.reason is not None)


def judge(name: str, published: Published, record: Record | None) -> Judgement:
    """Compare the record of a preset's run, if there is one, with the published value that the preset states."""
    if record is None:
        return Judgement(name, published, NOT_RUN)
    if record["status"] == "diverged":  # divergence is a result of the model, not a failure of the software
        return Judgement(name, published, DIFFERS, note=f"diverged: {record['error']}")
    if record["status"] != "finished":
        return Judgement(name, published, FAILED, note=f"{record['status']}: {record['error']}")
    measured = _at(record, published.figure)
    note = None if measured is not None else _nothing(record, published.figure)
    return Judgement(name, published, published.verdict(measured), measured, note)


def terminal(judgements: Sequence[Judgement]) -> Table:
    """The table of outcomes for the terminal."""
    shown = Table(*COLUMNS)
    for judgement in judgements:
        shown.add_row(*map(escape, _row(judgement)))
    return shown


def terminal_list(presets: Mapping[str, Published]) -> Table:
    """The table of presets that can be run, for the terminal."""
    shown = Table(*LISTED)
    for name, stated in presets.items():
        cells = name, stated.source, stated.figure, number(stated.value), _accepted(stated), cost(stated), stated.size
        shown.add_row(*map(escape, cells))
    return shown


def remarks(judgements: Iterable[Judgement]) -> dict[str, list[str]]:
    """Remarks on the protocol, the outcome and the reason of a difference, each with the presets that it applies to."""
    said: dict[str, list[str]] = {}
    for judgement in judgements:
        parts = [judgement.published.protocol]
        if judgement.note:
            parts.append(f"Here: {judgement.note}.")
        if judgement.verdict == DIFFERS:
            parts.append(f"It differs: {judgement.published.reason or 'nobody has found out why.'}")
        said.setdefault(" ".join(" ".join(parts).split()), []).append(judgement.name)
    return said


def markdown(judgements: Sequence[Judgement]) -> str:
    """The table of outcomes and the remarks in Markdown."""
    table = md.table(COLUMNS, ([md.code(name), *map(md.cell, rest)] for name, *rest in map(_row, judgements)))
    said = (f"- {', '.join(f'`{name}`' for name in names)}: {words}\n" for words, names in remarks(judgements).items())
    return table + "\n" + "".join(said)


def cost(stated: Published) -> str:
    """How long the run takes, in words."""
    return f"{stated.minutes:g} min" if stated.minutes < 90 else f"{stated.minutes / 60:.1f} h"


def number(value: float) -> str:
    """The number as text: integers in full, others with four significant digits."""
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _row(judgement: Judgement) -> tuple[str, ...]:
    stated, measured = judgement.published, judgement.measured
    known = ("–", "–") if measured is None else (number(measured), f"{measured / stated.value:.3g}")
    verdict = judgement.verdict + (f" ({cost(stated)})" if judgement.verdict == NOT_RUN else "")
    return (judgement.name, stated.source, stated.figure, number(stated.value), _accepted(stated), *known, verdict)


def _accepted(stated: Published) -> str:
    """The accepted values in words: a range, or a single bound if values beyond the other bound are better."""
    low, high = (number(round(end) if isinstance(stated.value, int) else end) for end in (stated.low, stated.high))
    match stated.better:
        case "lower":
            return f"up to {high}"
        case "higher":
            return f"from {low}"
    return f"{low} to {high}"


def _at(record: Record, figure: str) -> float | None:
    """The value of a dotted key of the record. Raises ValueError if the record has no such key."""
    found: Any = record
    for name in figure.split("."):
        if not isinstance(found, dict) or name not in found:
            raise ValueError(f"published.figure={figure}: a record of {record['task']} has no such key")
        found = found[name]
    value: float | None = found
    return value


def _nothing(record: Record, figure: str) -> str:
    """Why the record has no value for the key, in words."""
    if not figure.endswith("_to_solve"):
        return f"no {figure} could be measured"
    return f"not solved in {record['cost']['steps'] * record['config']['batch_size']:,} sequences"
