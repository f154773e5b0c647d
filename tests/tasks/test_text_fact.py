"""Planted facts: the exact distance, clean filler, balanced draws, and who can answer."""

import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers.command import compose
from longlag.assemble import make_task
from longlag.tasks.task import Batch
from longlag.tasks.text_fact import DIGITS, NAMES, TextFact

SENTENCE = re.compile(r"The code of (\w{4}) is (\d)\. ")
QUESTION = re.compile(r" The code of (\w{4}) is $")
BESIDE = "And it came to pass in those days, that there went out a decree. "
SEQUENCES = 4000


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., TextFact]:
    """Makes the task on a text of the test's own."""

    def make_on(text: str, lag: int, facts: int = 1, split: tuple[float, ...] = (0.5, 0.25, 0.25)) -> TextFact:
        (tmp_path / "corpus.txt").write_text(text, encoding="utf-8")
        return TextFact(lag, facts, str(tmp_path / "corpus.txt"), split)

    return make_on


def draw(task: TextFact, sequences: int = 200) -> tuple[list[str], Batch]:
    """Sequences as text, up to the end of the question, and as they are."""
    batch = task.batch(sequences, np.random.default_rng(0))
    rows = zip(batch.inputs.tolist(), batch.steps[:, 0].tolist(), strict=True)
    return [task.corpus.decode(row[: step + 1]) for row, step in rows], batch


def due(batch: Batch) -> list[str]:
    return [DIGITS[digit] for digit in batch.targets[:, 0]]


def uneven(counts: list[int]) -> bool:
    """Whether shares that should be equal differ by what happens in fewer than 1 of 10,000 cases."""
    mean = sum(counts) / len(counts)
    statistic, freedom = sum((count - mean) ** 2 / mean for count in counts), len(counts) - 1
    return statistic > freedom + 4 * (2 * freedom) ** 0.5


@pytest.mark.parametrize("facts", [1, 2, 3, 10])
@pytest.mark.parametrize("beyond", [0, 1, 50, 300])
def test_the_digit_stands_exactly_lag_steps_before_it_is_due(make, facts, beyond):
    task = make(BESIDE * 60, 23 * facts + beyond, facts)
    texts, batch = draw(task)
    assert batch.inputs.shape == (200, task.length)
    assert batch.steps.max() == task.length - 1
    for text, digit in zip(texts, due(batch), strict=True):
        (name,) = QUESTION.findall(text)
        (place,) = [found.start(2) for found in SENTENCE.finditer(text) if found[1] == name]
        assert text[place] == digit
        assert len(text) - 1 - place == task.lag


@pytest.mark.parametrize("facts", [1, 2, 3, 10])
def test_as_many_facts_as_asked_side_by_side_about_different_names(make, facts):
    texts, _ = draw(make(BESIDE * 60, 23 * facts + 40, facts))
    for text in texts:
        found = list(SENTENCE.finditer(text))
        assert len(found) == len({fact[1] for fact in found}) == facts
        assert all(one.end() == other.start() for one, other in pairwise(found))
        assert len(re.findall(r"\d", text)) == facts
        assert text.count("The code of ") == facts + 1


def test_the_layout_of_the_definition(make):
    texts, _ = draw(make(BESIDE * 10, 44))
    for text in texts:
        assert re.fullmatch(r"The code of \w{4} is \d\. .{21} The code of \w{4} is ", text)
        assert text[23:44] in BESIDE * 10
        assert len(text) == 65


@pytest.mark.parametrize("facts", [1, 2, 3, 10])
def test_the_smallest_lag(make, facts):
    texts, _ = draw(make(BESIDE * 60, 23 * facts, facts))
    assert all(SENTENCE.search(text) and QUESTION.search(text) for text in texts)
    with pytest.raises(
        ValueError, match=f"^task text_fact: lag must be at least {23 * facts} for facts={facts}, got {23 * facts - 1}$"
    ):
        make(BESIDE * 60, 23 * facts - 1, facts)


@pytest.mark.parametrize("facts", [1, 3])
def test_the_largest_lag(make, facts):
    task = make(BESIDE * 20, 100, facts)
    largest = task.at_lag(task.max_lag)
    assert largest.length == len(task.corpus.parts["test"]) == task.corpus.shortest
    for split in ("train", "val", "test"):
        assert largest.part(split).batch(50, np.random.default_rng(0)).inputs.shape == (50, largest.length)
    with pytest.raises(ValueError, match=f"of 325 characters, is too short for a lag of {task.max_lag + 1}$"):
        task.at_lag(task.max_lag + 1)


def test_names_digits_and_places_are_balanced(make):
    texts, batch = draw(make(BESIDE * 60, 100, facts=3), SEQUENCES)
    facts = [SENTENCE.findall(text) for text in texts]
    asked = [QUESTION.findall(text)[0] for text in texts]
    assert not uneven([due(batch).count(digit) for digit in DIGITS])
    assert not uneven([asked.count(name) for name in NAMES])
    orders = [[name for name, _ in told].index(name) for told, name in zip(facts, asked, strict=True)]
    assert not uneven([orders.count(place) for place in range(3)])
    for place in range(3):
        assert not uneven([sum(told[place] == (name, digit) for told in facts) for name in NAMES for digit in DIGITS])
    pairs = [told[0][1] + told[1][1] for told in facts]
    assert not uneven([pairs.count(one + other) for one in DIGITS for other in DIGITS])


@pytest.mark.parametrize(
    "planted",
    ["The code of Anna is 7. ", "The coThe code of de of ", "12The co3de of 4", "TThe code of he coThe code of de of "],
)
def test_no_fact_stands_in_the_corpus(make, planted):
    task = make((BESIDE + planted) * 60, 100)
    for part in task.corpus.parts.values():
        text = task.corpus.decode(part)
        assert not re.search(r"\d|The code of ", text)
        assert "there went out a decree" in text
    texts, _ = draw(task)
    assert {len(re.findall(r"\d", text)) for text in texts} == {1}
    assert {text.count("The code of ") for text in texts} == {2}


def test_numbers_of_other_scripts_are_digits(make):
    task = make((BESIDE + "٣") * 20, 60)
    assert "٣" not in task.corpus.symbols


def test_facts_can_be_written_whatever_the_corpus(make):
    texts, _ = draw(make("日本" * 400, 60, facts=2))
    assert all(len(SENTENCE.findall(text)) == 2 and QUESTION.search(text) for text in texts)


def test_each_part_has_filler_of_its_own(make):
    task = make("a" * 200 + "b" * 100 + "c" * 100, 60)
    assert {split: set(task.corpus.decode(part)) for split, part in task.corpus.parts.items()} == {
        "train": {"a"}, "val": {"\N{REPLACEMENT CHARACTER}"}, "test": {"c"},
    }  # fmt: skip
    filler = {split: {text[23:39] for text in draw(task.part(split))[0]} for split in ("train", "val", "test")}
    assert filler == {"train": {"a" * 16}, "val": {"\N{REPLACEMENT CHARACTER}" * 16}, "test": {"c" * 16}}


def test_windows_of_filler_are_all_those_of_the_part(make):
    text = "".join(map(chr, range(0x4E00, 0x4E00 + 400)))
    task = make(text, 60)
    texts, _ = draw(task, SEQUENCES)
    assert {text.index(found[23]) - 23 for found in texts} == set(range(200 - task.length + 1))


def test_drawing_leaves_the_text_as_it_is(make):
    task = make(BESIDE * 20, 60)
    before = task.corpus.parts["train"].copy()
    draw(task)
    assert np.array_equal(task.corpus.parts["train"], before)


@pytest.mark.parametrize("facts", [0, -1, 11])
def test_refused_facts(facts):
    with pytest.raises(ValueError, match=f"^task.facts must lie from 1 to 10, got {facts}$"):
        TextFact(300, facts)


def test_a_text_without_anything_but_numbers_is_refused(make):
    with pytest.raises(ValueError, match="is empty"):
        make("1234567890" * 50, 60)


def test_another_lag_keeps_the_knobs(make):
    task = make(BESIDE * 60, 100, facts=3).part("val").at_lag(200)
    assert (task.lag, task.facts, task.min_lag, task.last_digit) == (200, 3, 69, 66)
    assert draw(task, 1)[0][0][-21:-9] == " The code of"
    assert task._text is task.corpus.parts["val"]


def test_default_facts_lie_in_the_bible():
    task = make_task(compose("task=text_fact"))
    texts, batch = draw(task)
    assert task.lag == 300
    bible = task.corpus.decode(task.corpus.parts["train"])
    assert all(text[23:300] in bible for text in texts[:20])
    assert [SENTENCE.findall(text)[0][1] for text in texts] == due(batch)


@pytest.mark.parametrize("facts", [1, 2, 3, 10])
def test_who_remembers_digits_but_no_names_cannot_tell_which_was_asked(make, facts):
    texts, batch = draw(make(BESIDE * 60, 23 * facts + 20, facts), SEQUENCES)
    rng = np.random.default_rng(1)
    right = np.mean(
        [rng.choice(re.findall(r"\d", text)) == digit for text, digit in zip(texts, due(batch), strict=True)]
    )
    expected = 1 / facts + (1 - 1 / facts) / 10
    sigma = (expected * (1 - expected) / SEQUENCES) ** 0.5
    assert right == pytest.approx(expected, abs=4 * sigma)


@pytest.mark.parametrize("facts", [1, 3, 10])
def test_who_remembers_names_and_digits_is_always_right(make, facts):
    texts, batch = draw(make(BESIDE * 60, 23 * facts + 20, facts))
    answers = [dict(SENTENCE.findall(text))[QUESTION.findall(text)[0]] for text in texts]
    assert answers == due(batch)


def test_one_more_digit_on_the_way_changes_nothing_for_the_oracle(make):
    task = make(BESIDE * 60, 100, facts=3)
    _, batch = draw(task)
    batch.inputs[:, 0] = task.corpus.encode("5")[0]
    assert torch.equal(task.oracle(batch).argmax(-1), batch.targets)
