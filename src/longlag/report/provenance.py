"""In words: where the settings of a run come from, whether its size was matched, whether it knows the lag."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

from longlag.records import Record
from longlag.records.schema import Tuned
from longlag.report.groups import Group

OWN, FREE = "own", "not matched"  # said only beside others of which there is more to say
NOT_KNOWN: Tuned = {"file": "", "lag": None, "learned": None, "at_edge": {}}


def column(groups: Sequence[Group]) -> list[str | None]:
    """For each group: tuned or not, at which edge, matched or not. What none of them was is left out."""
    kinds = [[_each(group, of) for group in groups] for of in KINDS]
    told = [
        [words or otherwise for words in found] if any(found) else [""] * len(groups)
        for found, otherwise in zip(kinds, (OWN, FREE, ""), strict=True)
    ]
    return [", ".join(filter(None, words)) or None for words in zip(*told, strict=True)]


def _each(group: Group, of: Callable[[Record], str | None]) -> str:
    """What there is to say of the runs of a group; they nearly always agree."""
    return "; ".join(dict.fromkeys(words for run in group.runs if (words := of(run))))


def tuned(run: Record) -> str | None:
    """Which file the settings are from, and which of them were at the edge of what was tried; None if not tuned."""
    name, how = run["config"].get("tuned"), _how(run)
    if how["learned"] is False:
        return "untuned: nothing learned"
    edges = [f"{which} {setting} tried" for setting, which in how["at_edge"].items()]
    return f"tuned={name}" + (f" ({', '.join(edges)})" if edges else "") if name else None


def _how(run: Record) -> Tuned:
    """How the settings of a run were tuned, as far as its record says."""
    return run["config"].get("tuning") or NOT_KNOWN


def matched(run: Record) -> str | None:
    """The number of parameters that the width was chosen for; None if it was not."""
    budget = run["config"]["budget"]
    if core := budget.get("core_parameters"):
        return f"core matched to {core:,}"
    return f"matched to {whole:,}" if (whole := budget.get("parameters")) else None


def oracle(run: Record) -> str | None:
    """How the initialisation was told the lag: chrono up to 1.5 lags, as in `lstm_oracle`; None for other schemes."""
    model = run["config"].get("model") or {}
    longest = model.get("t_max")
    if model.get("init") != "chrono" or not isinstance(longest, int | float):
        return None
    return f"knows the lag: chrono up to {longest / run['lag']:.3g} lags"


KINDS = (tuned, matched, oracle)  # what there may be to say of a run, in this order


def remarks(runs: Sequence[Record], task: str) -> Iterator[str]:
    """What to mind in a comparison of these runs of one task: values at an edge, and models that could not be tuned."""
    at_edge: dict[str, set[str]] = defaultdict(set)
    for run in runs:
        for setting, which in _how(run)["at_edge"].items():
            at_edge[f"{which} {setting}"].add(run["model"])
    for which, models in sorted(at_edge.items()):
        yield (
            f"{task}: of these models tuning chose the {which} that it tried: {', '.join(sorted(models))}. "
            "A wider grid might do better."
        )
    lost = sorted({run["model"] for run in runs if _how(run)["learned"] is False})
    if lost:
        yield f"{task}: tuning learned nothing with these models: {', '.join(lost)}. They have their own settings."
