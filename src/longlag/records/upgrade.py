"""Upgrades records of earlier schemas to the current one. No other module handles old schemas. Needs no torch."""

from collections.abc import Callable
from typing import Any

from longlag.records.curve import still_improving
from longlag.records.identity import RENAMED, config_hash
from longlag.records.schema import SCHEMA, without_results

Raw = dict[str, Any]  # a record as it is read from the file, not yet validated

GRADIENT_SEQUENCES = 4  # sequences per gradient measurement in schema 1, which did not store the number
NO_LIMITS = {"sequences": None, "seconds": None, "give_up_at": None, "parameters": None}


def upgrade(record: Raw) -> Raw:
    """The record upgraded to the current schema. Unknown keys are kept.

    Raises ValueError if its schema is not one that longlag has written.
    """
    schema = record.get("schema")
    if type(schema) is not int or schema not in (*STEPS, SCHEMA):
        raise ValueError(
            f"its schema is {schema!r}; this version of longlag reads schemas {', '.join(map(str, STEPS))}, {SCHEMA}"
        )
    for older in range(schema, SCHEMA):
        record = STEPS[older](record)
    record = without_results() | {"started": None, "still_improving": _still_improving(record)} | record
    config = _with_later_settings(_renamed(record["config"]))
    return record | {"config": config, "config_hash": config_hash(config)}


def _renamed(config: Raw) -> Raw:
    """The settings under their present names."""
    for now, first in RENAMED.items():
        group, _, name = first.partition(".")
        given = config.get(group)
        if isinstance(given, dict) and name in given:
            values = {now.partition(".")[2] if key == name else key: value for key, value in given.items()}
            config = config | {group: values}
    return config


def _still_improving(record: Raw) -> bool | None:
    """What the records before this entry do not hold; None for a run without a test, which has no memoryless loss."""
    if record.get("solved"):
        return False
    try:
        return still_improving(record["learning_curve"], record["test"]["memoryless_loss"])
    except (KeyError, TypeError, ValueError, OverflowError):  # missing, or wrong, which validation tells afterwards
        return None


def _with_later_settings(config: Raw) -> Raw:
    """The settings with those that schema 2 got later, at the values at which they do nothing."""
    budget = config.get("budget")
    if isinstance(budget, dict):
        config = config | {"budget": {"core_parameters": None} | budget}
    return {"embedding": None} | config


def _from_schema_1(record: Raw) -> Raw:
    """Add what schema 2 introduced: the stream version and the number of sequences behind each result.

    The oldest records of schema 1 also lack the budget, the counts it needs and the choice of a memory allocator.
    """
    config = {"stream": 1, **record["config"]}
    config["budget"] = NO_LIMITS | (config.get("budget") or {})
    config["runtime"] = {"malloc": "stock"} | config["runtime"]
    cost = record.get("cost", {})
    if "steps" in cost:
        cost = {"sequences": cost["steps"] * config["batch_size"], "computing_seconds": None, **cost}
    tested = record.get("test", {}).get("sequences", config["eval"]["sequences"])
    sequences = {"validation": config["validation"]["sequences"], "test": tested, "gradient": GRADIENT_SEQUENCES}
    # `ended_by` is missing in old records: a finished run had either solved the task or used all its steps.
    ended = "solved" if record.get("solved") else "steps"
    record = record | {"ended_by": "no progress"} if record.get("ended_by") == "hopeless" else record
    given = {"ended_by": ended if record.get("status") == "finished" else None} | record
    example = _artefacts(record.get("example") or {})
    return given | {"schema": 2, "config": config, "cost": cost, "sequences": sequences, "example": example}


def _artefacts(example: Raw) -> Raw:
    """The forecasts and the generated text of schema 1 as typed artefacts."""
    found: Raw = {}
    if forecasts := example.get("forecasts"):
        found["forecasts"] = {
            "kind": "curves",
            "title": "Forecast",
            "y": "value",
            "panels": list(map(_panel, forecasts)),
        }
    if sample := example.get("sample"):
        about = f"temperature {sample.get('temperature')}, from the prompt {sample.get('prompt')!r}"
        found["sample"] = {"kind": "text", "title": "Generated text", "about": about, "text": sample["text"]}
    return found


def _panel(wave: Raw) -> list[Raw]:
    start = len(wave["observed"])
    roles = {"observed": ("input", 0), "truth": ("target", start), "forecast": ("output", start)}
    return [{"name": name, "role": role, "start": first, "values": wave[name]} for name, (role, first) in roles.items()]


STEPS: dict[int, Callable[[Raw], Raw]] = {1: _from_schema_1}  # the key is the schema that the step upgrades from
