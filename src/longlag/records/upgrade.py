"""Records of every age as records of today: the one place that knows what older ones lack. Needs no torch."""

from collections.abc import Callable
from typing import Any

from longlag.records.identity import config_hash
from longlag.records.schema import SCHEMA

Raw = dict[str, Any]  # a record as a file has it

LACKED: Raw = {  # what a record may lack, and what stands there then
    "error": None,
    "command": None,
    "started": None,
    "ended": None,
    "training_lags": [],
    "learning_curve": [],
    "ended_by": None,
    "solved": False,
    "steps_to_solve": None,
    "sequences_to_solve": None,
    "seconds_to_solve": None,
    "best_step": None,
    "test": {},
    "lag_curve": [],
    "gradient": [],
    "gradient_scalars": [],
    "data": {},
    "example": {},
    "cost": {},
    "environment": {},
    "artifacts": [],
}
GRADIENT_SEQUENCES = 4  # behind every gradient of schema 1
NO_LIMITS = {"sequences": None, "seconds": None, "give_up_at": None, "parameters": None}


def upgrade(record: Raw) -> Raw:
    """The record as one of today. Unknown keys stay.

    Raises ValueError where it is of no schema that was ever written.
    """
    schema = record.get("schema")
    if type(schema) is not int or schema not in (*STEPS, SCHEMA):
        raise ValueError(
            f"its schema is {schema!r}; this version of longlag reads {', '.join(map(str, STEPS))}, {SCHEMA}"
        )
    for older in range(schema, SCHEMA):
        record = STEPS[older](record)
    record = LACKED | record
    return record | {"config_hash": config_hash(record["config"])}


def _from_schema_1(record: Raw) -> Raw:
    """Schema 2 says which version of the streams a run draws from, and how many sequences stand behind its numbers.

    The oldest records of schema 1 also lack the budget, what was counted for it, and the choice of an allocator.
    """
    config = {"stream": 1, **record["config"]}
    config["budget"] = NO_LIMITS | (config.get("budget") or {})
    config["runtime"] = {"malloc": "stock"} | config["runtime"]
    cost = record.get("cost", {})
    if "steps" in cost:
        cost = {"sequences": cost["steps"] * config["batch_size"], "computing_seconds": None, **cost}
    tested = record.get("test", {}).get("sequences", config["eval"]["sequences"])
    sequences = {"validation": config["validation"]["sequences"], "test": tested, "gradient": GRADIENT_SEQUENCES}
    ended = "solved" if record.get("solved") else "steps"
    given = {"ended_by": ended if record.get("status") == "finished" else None} | record
    return given | {"schema": 2, "config": config, "cost": cost, "sequences": sequences}


STEPS: dict[int, Callable[[Raw], Raw]] = {1: _from_schema_1}  # by the schema they begin at
