"""Which settings make a run. Two runs of one identity differ at most in where and how fast they ran. Needs no torch.

This is the only place that says so: it serves the hash of a record, resuming, grouping, tuning, the search for memory
horizons and the runs held against published values. The rules:

- A setting that is null, or at the value at which it does nothing (`NEUTRAL`), is as good as absent. So a setting that
  is added tomorrow leaves the identity of every stored run as it is.
- 0 and 0.0 are one value.
- Where a run computes, how fast, and who is told about it (`NOT_OF_THE_RUN`) does not count.
- A class counts by the name under which it was stored first (`MOVED`), wherever it is defined today.
"""

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any

TARGET = "_target_"
NOT_OF_THE_RUN = ("logger", "published", "runtime", "trainer", "resume", "tune")
OF_THE_TRAINER = ("trainer.precision", "trainer.gradient_clip_val")  # what counts of it all the same
HOW_FAST = ("model.impl", "model.memory")  # of our own cores: the same equations by another way
OUR_CORES = "longlag.models."
NEUTRAL: dict[str, Any] = {  # a run without the setting is as one with this value
    "stream": 1,
    "tuned": "none",
    "lr_schedule": "constant",
    "warmup_steps": 0,
    "lag_mode._target_": "longlag.lag_modes.Fixed",
    "trainer.precision": "32-true",
}
SYNONYMS = {("trainer.precision", "32"): "32-true", ("trainer.precision", "64"): "64-true"}
MOVED = {  # a class as it was stored first, and where it is now: an entry for every class that was moved
    "longlag.tracking.Wandb": "longlag.tracking.logger.Wandb",
}
SEED, STREAM = "seed", "stream"


def identity(config: Mapping[str, Any], without: Collection[str] = ()) -> dict[str, Any]:
    """The settings that make a run, by dotted name.

    Args:
        config: all settings of the run, resolved and plain.
        without: names that are not to count here.
    """
    flat = flattened(config)
    ours = str(flat.get(f"model.{TARGET}", "")).startswith(OUR_CORES)
    found = {}
    for key, value in flat.items():
        counts = key.partition(".")[0] not in NOT_OF_THE_RUN or key in OF_THE_TRAINER
        if counts and key not in without and not (ours and key in HOW_FAST):
            plain = _canonical(key, value)
            if plain is not None and plain != NEUTRAL.get(key):
                found[key] = plain
    return found


def config_hash(config: Mapping[str, Any], without: Collection[str] = ()) -> str:
    """The name of an identity: 16 hexadecimal digits."""
    text = json.dumps(identity(config, without), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def begun_hash(config: Mapping[str, Any]) -> str:
    """The name of a run among those begun already: whichever version of the streams it was begun with goes on."""
    return config_hash(config, without=(STREAM,))


def group(config: Mapping[str, Any]) -> dict[str, Any]:
    """What runs have in common that differ in their seed alone (and in the version of the streams)."""
    return identity(config, without=(SEED, STREAM))


def neutral(key: str) -> Any:
    """The value at which a setting does nothing, as `identity` leaves it out; None where null alone does."""
    return NEUTRAL.get(key)


def where_it_is(target: str) -> str:
    """The name of a class today, by any name that a stored configuration has for it."""
    return MOVED.get(target, target)


def where_it_was(target: str) -> str:
    """The name under which a class was stored first."""
    return next((first for first, now in MOVED.items() if now == where_it_is(target)), target)


def flattened(node: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings under dotted names."""
    flat: dict[str, Any] = {}
    for key, value in node.items():
        flat |= flattened(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def one_number(value: Any) -> Any:
    """The same value for 0 and 0.0, in lists too."""
    if isinstance(value, list | tuple):
        return [one_number(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def differing(identities: Iterable[Mapping[str, Any]]) -> list[str]:
    """The settings that are not the same in all of them, sorted."""
    every = list(identities)
    keys = {key for one in every for key in one}
    return sorted(key for key in keys if len({json.dumps(one.get(key)) for one in every}) > 1)  # 1 is not True


def _canonical(key: str, value: Any) -> Any:
    if key.rpartition(".")[2] == TARGET and isinstance(value, str):
        return where_it_was(value)
    plain = one_number(value)
    return SYNONYMS.get((key, str(plain)), plain)
