"""Records of every age are read as records of today, and stand in one table."""

import copy
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.places import ROOT
from longlag import records
from longlag.records.schema import Record
from longlag.records.store import json_schema, validated
from longlag.records.upgrade import upgrade
from longlag.report import table
from longlag.report.groups import find, groups, names

RESULTS = ROOT / "docs" / "results"
EVERY = sorted(RESULTS.rglob(records.FILE))
OLDEST = RESULTS / "gap" / "1_lstm_scratch_copy_lag1000_seed1"
NO_BUDGET = dict.fromkeys(("sequences", "seconds", "no_progress_at", "parameters", "core_parameters"))
NO_BUDGET_BEFORE = {"sequences": None, "seconds": None, "give_up_at": None, "parameters": None}


def stored(folder: Path) -> dict:
    return json.loads((folder / records.FILE).read_text(encoding="utf-8"))


def store(record: dict, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / records.FILE).write_text(json.dumps(record))


def test_every_record_that_is_kept_reads():
    assert {stored(path.parent)["schema"] for path in EVERY} >= {1}
    for path in EVERY:
        record = records.read(path.parent)
        assert record["schema"] == 2
        assert record.keys() - {"folder"} == Record.__annotations__.keys() - {"folder"}
        assert record["config"]["stream"] == stored(path.parent)["config"].get("stream", 1)
        assert record["config"]["budget"].keys() == NO_BUDGET.keys()
        assert record["cost"]["sequences"] == record["cost"]["steps"] * record["config"]["batch_size"]
        assert record["ended_by"] is not None
        assert record["sequences"]["validation"] == record["config"]["validation"]["sequences"]


def test_records_that_are_kept_as_single_files_read_too():
    files = [path for path in RESULTS.rglob("*.json") if path.name not in (records.FILE, "horizon.json")]
    assert len(files) >= 6
    for path in files:
        assert validated(json.loads(path.read_text(encoding="utf-8")))["schema"] == 2


def test_upgrading_twice_is_upgrading_once_and_leaves_what_it_is_given():
    for path in EVERY[::25]:
        old = stored(path.parent)
        before = copy.deepcopy(old)
        once = upgrade(old)
        assert old == before
        assert upgrade(once) == once


def test_records_of_all_ages_are_one_group_and_all_of_them_count(tmp_path: Path):
    """Once, a configuration without a budget and one with a budget of nulls were two groups of one name."""
    old = stored(OLDEST)
    assert "budget" not in old["config"]
    with_nulls = copy.deepcopy(old)
    with_nulls["config"] |= {"seed": 11, "budget": {"sequences": None, "seconds": None, "parameters": None}}
    today = json.loads(json.dumps(records.read(OLDEST)))
    today["config"] |= {"seed": 12, "stream": 2, "runtime": {"threads": 2, "malloc": "tuned"}}
    for number, record in enumerate((old, with_nulls, today)):
        store(record | {"seed": record["config"]["seed"]}, tmp_path / str(number))
    runs = find([tmp_path])
    (group,) = groups(runs)
    assert (len(group.runs), group.settings) == (3, "")
    assert "(3/3)" in table.by_lag(runs)


def test_a_group_without_a_setting_names_it_where_another_has_it(tmp_path: Path):
    old = stored(OLDEST)
    other = copy.deepcopy(old)
    other["config"]["budget"] = NO_BUDGET | {"parameters": 50_000}
    for number, record in enumerate((old, other)):
        store(record, tmp_path / str(number))
    assert [group.settings for group in groups(find([tmp_path]))] == [
        "budget.parameters=null", "budget.parameters=50000",
    ]  # fmt: skip


keys = st.sampled_from(["a", "a.b", "lr", "optimizer.lr", "task.lr", "x._target_", "x.k"])
values = st.sampled_from([0, 1, 0.5, "1", "0.5", "null", True, "p.A", "q.A"])
some_groups = st.lists(
    st.tuples(st.sampled_from([10, 30]), st.dictionaries(keys, values, max_size=4)), min_size=1, max_size=6
)


@given(some_groups)
def test_no_two_groups_share_a_name(settings: list[tuple[int, dict]]):
    family = {(lag, json.dumps(one, sort_keys=True)) for lag, one in settings}
    found = names(sorted(family))
    assert found.keys() == family
    assert len({(lag, words) for (lag, _), words in found.items()}) == len(family)


@pytest.mark.parametrize("schema", [0, 3, "1", True, None, 1.0, [1]])
def test_another_schema_is_refused(schema: object):
    with pytest.raises(ValueError, match=r"its schema is .*; this version of longlag reads schemas 1, 2"):
        upgrade({"schema": schema})


def test_the_page_of_the_schema_is_of_the_type():
    """`python tools/schema.py` writes it."""
    assert json.loads((ROOT / "docs" / "record.schema.json").read_text(encoding="utf-8")) == json_schema()


def test_every_key_has_a_meaning():
    definitions = json_schema()
    for kind in (definitions, *definitions["$defs"].values()):
        assert kind["description"]
        for name, key in kind["properties"].items():
            assert "description" in key or "$ref" in key or "$ref" in key.get("items", {}), name


def test_what_old_runs_showed_becomes_artefacts():
    wave = {"observed": [0.0, 1.0], "truth": [0.5], "forecast": [None]}
    sample = {"temperature": 0.8, "prompt": "The ", "text": "The king"}
    old = stored(OLDEST) | {"example": {"forecasts": [wave], "sample": sample}}
    found = validated(old)["example"]
    (panel,) = found["forecasts"]["panels"]
    assert [(one["name"], one["role"], one["start"], one["values"]) for one in panel] == [
        ("observed", "input", 0, [0.0, 1.0]), ("truth", "target", 2, [0.5]), ("forecast", "output", 2, [None]),
    ]  # fmt: skip
    assert found["sample"]["about"] == "temperature 0.8, from the prompt 'The '"
    assert found["sample"]["text"] == "The king"


@pytest.mark.parametrize("example", [{"sample": "x"}, {"forecasts": 5}, {"forecasts": [{}]}, "x", [1]])
def test_what_no_run_showed_is_refused_in_one_line(example: object):
    with pytest.raises(ValueError, match=r"^[^\n]+$"):
        validated(stored(OLDEST) | {"example": example})


def test_a_renamed_setting_is_read_under_its_new_name_and_is_the_same_run():
    config = stored(EVERY[0].parent)["config"]
    old = copy.deepcopy(stored(EVERY[0].parent)) | {
        "config": config | {"budget": NO_BUDGET_BEFORE | {"give_up_at": 0.5}}
    }
    new = copy.deepcopy(old) | {"config": config | {"budget": NO_BUDGET | {"no_progress_at": 0.5}}}
    assert upgrade(old) == upgrade(new)
    assert upgrade(old)["config"]["budget"] == NO_BUDGET | {"no_progress_at": 0.5}
    without = upgrade(copy.deepcopy(old) | {"config": config | {"budget": NO_BUDGET_BEFORE}})
    assert upgrade(old)["config_hash"] != without["config_hash"]
