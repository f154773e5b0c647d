"""The identity of a run: the settings that determine its results. Needs no torch.

Two runs with the same identity may differ only in where they ran and how fast. All code that compares runs uses this
module: the hash of a record, resuming, grouping, tuning, the search for memory horizons and the comparison with
published values. The rules:

- A setting that is null, or has the value at which it does nothing (`NEUTRAL`), counts as absent. A setting that is
  added to longlag later therefore does not change the identity of stored runs.
- 0 and 0.0 are the same value.
- Where a run computes, how fast, and where its metrics are logged (`NOT_OF_THE_RUN`) does not count.
- A class counts under the name with which it was first stored (`MOVED`), wherever it is defined now. So does a setting
  (`RENAMED`).
"""

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any

TARGET = "_target_"
NOT_OF_THE_RUN = ("logger", "published", "runtime", "trainer", "resume", "tune", "tuning")
OF_THE_TRAINER = ("trainer.precision", "trainer.gradient_clip_val")  # they change the results, so they count
HOW_FAST = ("model.impl", "model.memory")  # in our own cores these only choose how the same equations are computed
OUR_CORES = "longlag.models."
NEUTRAL: dict[str, Any] = {  # a run without the setting is the same as a run with this value
    "stream": 1,
    "tuned": "none",
    "lr_schedule": "constant",
    "warmup_steps": 0,
    "lag_mode._target_": "longlag.lag_modes.Fixed",
    "trainer.precision": "32-true",
}
SYNONYMS = {("trainer.precision", "32"): "32-true", ("trainer.precision", "64"): "64-true"}
MOVED = {  # from the name under which a class was first stored to its current name; one entry for each moved class
    "longlag.tracking.Wandb": "longlag.tracking.logger.Wandb",
}
RENAMED = {  # from the current name of a setting to the name under which it was first stored
    "budget.no_progress_at": "budget.give_up_at",
}
SEED, STREAM = "seed", "stream"


def identity(config: Mapping[str, Any], without: Collection[str] = ()) -> dict[str, Any]:
    """The settings that identify a run, by dotted name.

    Args:
        config: all settings of the run as plain values, interpolations resolved.
        without: dotted names of settings to leave out.
    """
    flat = flattened(config)
    ours = str(flat.get(f"model.{TARGET}", "")).startswith(OUR_CORES)
    found = {}
    for key, value in flat.items():
        counts = key.partition(".")[0] not in NOT_OF_THE_RUN or key in OF_THE_TRAINER
        if counts and key not in without and not (ours and key in HOW_FAST):
            plain = _canonical(key, value)
            if plain is not None and plain != NEUTRAL.get(key):
                found[RENAMED.get(key, key)] = plain
    return found


def config_hash(config: Mapping[str, Any], without: Collection[str] = ()) -> str:
    """The hash of the identity: the first 16 hexadecimal digits of its SHA-256."""
    text = json.dumps(identity(config, without), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def begun_hash(config: Mapping[str, Any]) -> str:
    """The hash by which a stored run is found to resume it. The stream version is left out: the stored one is kept."""
    return config_hash(config, without=(STREAM,))


def group(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that all runs of a group share: the identity without the seed and the stream version."""
    now = {first: name for name, first in RENAMED.items()}
    return {now.get(key, key): value for key, value in identity(config, without=(SEED, STREAM)).items()}


def neutral(key: str) -> Any:
    """The value at which a setting does nothing, so that `identity` leaves it out; None if there is no such value."""
    return NEUTRAL.get(key)


def where_it_is(target: str) -> str:
    """The current name of a class, given any name that a stored configuration uses for it."""
    return MOVED.get(target, target)


def where_it_was(target: str) -> str:
    """The name under which a class was first stored, given any of its names."""
    return next((first for first, now in MOVED.items() if now == where_it_is(target)), target)


def flattened(node: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings under dotted names."""
    flat: dict[str, Any] = {}
    for key, value in node.items():
        flat |= flattened(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def one_number(value: Any) -> Any:
    """The value with whole floats as integers, in lists too, so that 0 and 0.0 have the same JSON text."""
    if isinstance(value, list | tuple):
        return [one_number(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def differing(identities: Iterable[Mapping[str, Any]]) -> list[str]:
    """The settings that are not the same in all of them, sorted."""
    every = list(identities)
    # Values are compared as JSON text, because 1 == True in Python.
    keys = {key for one in every for key in one}
    return sorted(key for key in keys if len({json.dumps(one.get(key)) for one in every}) > 1)


def _canonical(key: str, value: Any) -> Any:
    if key.rpartition(".")[2] == TARGET and isinstance(value, str):
        return where_it_was(value)
    plain = one_number(value)
    return SYNONYMS.get((key, str(plain)), plain)
