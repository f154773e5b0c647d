"""Identity: what makes two runs the same, and what does not, whichever settings are added later."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.command import compose
from helpers.places import ROOT
from longlag import records
from longlag.records import identity
from longlag.records.identity import MOVED, NEUTRAL, begun_hash, config_hash, flattened
from longlag.settings import plain

RESULTS = ROOT / "docs" / "results"
CONFIG = plain(compose("model=lstm_scratch", "logger=csv"))
COUNTS = sorted(  # every setting that the result depends on
    key
    for key, value in flattened(CONFIG).items()
    if value is not None and key in identity.identity(CONFIG) and not key.endswith(("_target_", "_partial_"))
)
names = st.text("abcdefgh_", min_size=1, max_size=8)
dotted = st.lists(names, min_size=1, max_size=3).map(".".join)


def put(config: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    """A copy with a setting more, or another one."""
    changed = json.loads(json.dumps(config))
    *groups, last = key.split(".")
    node = changed
    for group in groups:
        node = node.setdefault(group, {})
        if not isinstance(node, dict):
            return changed  # what stands there is no group
    node[last] = value
    return changed


@given(st.lists(dotted.filter(lambda key: key.split(".")[0] not in CONFIG), max_size=5))
def test_a_setting_added_as_null_changes_nothing(keys: list[str]):
    changed = CONFIG
    for key in keys:
        changed = put(changed, key, None)
    assert config_hash(changed) == config_hash(CONFIG)


@given(st.sampled_from(sorted(CONFIG)), names)
def test_a_key_added_as_null_to_a_group_changes_nothing(group: str, name: str):
    if isinstance(CONFIG[group], dict) and name not in CONFIG[group]:
        assert config_hash(put(CONFIG, f"{group}.{name}", None)) == config_hash(CONFIG)


@pytest.mark.parametrize("key", sorted(NEUTRAL))
def test_a_neutral_value_is_as_none(key: str):
    assert config_hash(put(CONFIG, key, NEUTRAL[key])) == config_hash(put(CONFIG, key, None))


@given(st.sampled_from(COUNTS), st.integers(10**6, 10**9) | st.floats(1e6, 1e9) | names)
def test_a_setting_that_counts_makes_another_run(key: str, value: Any):
    assert flattened(CONFIG)[key] != value
    assert config_hash(put(CONFIG, key, value)) != config_hash(CONFIG)


@given(dotted.filter(lambda key: key.split(".")[0] not in identity.NOT_OF_THE_RUN), st.integers(1, 9) | names)
def test_a_setting_that_nobody_knows_counts(key: str, value: Any):
    if key.partition(".")[0] not in CONFIG:
        assert config_hash(put(CONFIG, key, value)) != config_hash(CONFIG)


@given(st.sampled_from(COUNTS))
def test_whole_numbers_are_one_with_and_without_a_point(key: str):
    value = flattened(CONFIG)[key]
    if isinstance(value, int) and not isinstance(value, bool):
        assert config_hash(put(CONFIG, key, float(value))) == config_hash(CONFIG)


@pytest.mark.parametrize(
    ("key", "value"),
    [("logger", {}), ("runtime.threads", 3), ("runtime.malloc", "tuned"), ("trainer.accelerator", "cpu"),
     ("trainer.strategy", "ddp"), ("trainer.devices", 2), ("trainer.num_nodes", 2), ("trainer.log_every_n_steps", 7),
     ("published", {"value": 1}), ("model.impl", "reference"), ("model.memory", "low"), ("trainer.precision", "32"),
     ("budget", {}), ("budget.sequences", None), ("resume", "folder"), ("tune", {"over": ["lr"]}),
     ("tuning", {"learned": True}), ("embedding", None), ("budget.core_parameters", None)],
)  # fmt: skip
def test_where_and_how_fast_it_ran_does_not_count(key: str, value: object):
    assert config_hash(put(CONFIG, key, value)) == config_hash(CONFIG)


@pytest.mark.parametrize(
    ("key", "value"),
    [("trainer.precision", "bf16-mixed"), ("trainer.gradient_clip_val", None), ("stream", 1), ("stream", None),
     ("tuned", "copy"), ("embedding", "fixed"), ("budget.core_parameters", 16000),
     ("warmup_steps", 3), ("model._target_", "mycell.Core"), ("eval.lags", [3])],
)  # fmt: skip
def test_what_counts(key: str, value: object):
    assert config_hash(put(CONFIG, key, value)) != config_hash(CONFIG)


def test_a_core_of_somebody_else_may_call_its_settings_as_it_likes():
    theirs = put(CONFIG, "model._target_", "mycell.Core")
    assert config_hash(put(theirs, "model.memory", 64)) != config_hash(put(theirs, "model.memory", 32))


def test_the_streams_are_of_the_run_and_not_of_its_group():
    old = put(CONFIG, "stream", 1)
    assert config_hash(old) != config_hash(CONFIG)
    assert begun_hash(old) == begun_hash(CONFIG)
    assert identity.group(old) == identity.group(put(CONFIG, "seed", 9))


def test_the_order_of_keys_does_not_count():
    turned = json.loads(json.dumps(CONFIG), object_pairs_hook=lambda pairs: dict(reversed(pairs)))
    assert list(turned) != list(CONFIG)
    assert config_hash(turned) == config_hash(CONFIG)


def test_a_class_that_moved_keeps_its_identity(monkeypatch: pytest.MonkeyPatch):
    target = CONFIG["model"]["_target_"]
    before = config_hash(CONFIG)
    monkeypatch.setitem(MOVED, target, "longlag.models.elsewhere.LSTMScratch")
    assert config_hash(CONFIG) == before
    assert config_hash(put(CONFIG, "model._target_", "longlag.models.elsewhere.LSTMScratch")) == before
    assert identity.where_it_is(target) == "longlag.models.elsewhere.LSTMScratch"


def test_classes_that_moved_are_where_the_table_says():
    from hydra.utils import get_class

    for now in set(MOVED.values()):
        assert get_class(now)


def test_kept_records_are_runs_of_their_own():
    """Two that shared an identity would be counted once."""
    paths = sorted(RESULTS.rglob(records.FILE))
    assert len(paths) > 300
    found = [records.read(path.parent) for path in paths]
    assert all(record["config_hash"] == config_hash(record["config"]) for record in found)
    gap = {record["config_hash"] for record, path in zip(found, paths, strict=True) if "gap" in path.parts}
    assert len(gap) == sum("gap" in path.parts for path in paths)
