"""Text: the layout of windows, the lag curve, the figures without memory, and what is generated."""

import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers.command import compose
from longlag.assemble import make_task
from longlag.tasks.corpora import UNKNOWN
from longlag.tasks.task import Predict
from longlag.tasks.text import Text

EACH_ONCE = "".join(map(chr, range(0x4E00, 0x4E00 + 100)))  # a hundred characters: a window tells where it stands
VERSE = "In the beginning God created the heaven and the earth. And the earth was without form, and void. "


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Text]:
    """Makes the task on a text of the test's own."""

    def make_on(text: str, lag: int, split: tuple[float, ...] = (0.5, 0.25, 0.25), **knobs: object) -> Text:
        path = tmp_path / "corpus.txt"
        path.write_text(text, encoding="utf-8")
        return Text(lag, str(path), split, **knobs)

    return make_on


def places(task: Text, split: str) -> Text:
    """The task on that part, its characters numbered as they stand there: a window is a range of numbers."""
    part = task.part(split)
    part._text = np.arange(len(task.corpus.parts[split]))
    return part


def prefers(logits: list[float]) -> Predict:
    """A network that expects the same at every step."""
    return lambda _, steps: torch.tensor(logits).expand(*steps.shape, -1)


@pytest.mark.parametrize("lag", [1, 5, 12])
def test_every_step_is_scored_with_the_character_after_it(make, lag):
    task = make(EACH_ONCE, lag).part("train")
    inputs, targets, steps = task.batch(64, np.random.default_rng(0))
    assert inputs.shape == targets.shape == (64, lag)
    assert steps.tolist() == [list(range(lag))] * 64
    for row, due in zip(inputs.tolist(), targets.tolist(), strict=True):
        window = task.corpus.decode(row) + task.corpus.decode(due[-1:])
        assert window in EACH_ONCE[:50]
        assert task.corpus.decode(due) == window[1:]


@pytest.mark.parametrize(("split", "start"), [("train", 0), ("val", 50), ("test", 75)])
def test_windows_are_all_those_of_the_part_and_no_others(make, split, start):
    task = make(EACH_ONCE, 5)
    size = len(task.corpus.parts[split])
    inputs, targets, _ = places(task, split).batch(2000, np.random.default_rng(0))
    assert task.corpus.decode(task.corpus.parts["train"]) == EACH_ONCE[:50]
    assert (EACH_ONCE.index(EACH_ONCE[start:]), size) == (start, {"train": 50}.get(split, 25))
    assert set(inputs[:, 0].tolist()) == set(range(size - 5))
    assert targets.max() == size - 1


def test_windows_come_from_their_own_part(make):
    task = make("a" * 50 + "b" * 25 + "a" * 25, 5)
    for split, symbol in (("train", 1), ("val", 0), ("test", 1)):
        inputs, targets, _ = task.part(split).batch(100, np.random.default_rng(0))
        assert {*inputs.unique().tolist(), *targets.unique().tolist()} == {symbol}, split


def test_a_task_that_was_asked_for_no_part_trains(make):
    task = make(EACH_ONCE, 5)
    batches = [one.batch(50, np.random.default_rng(0)) for one in (task, task.part("train"), task.part("val"))]
    assert torch.equal(batches[0].inputs, batches[1].inputs)
    assert not torch.equal(batches[0].inputs, batches[2].inputs)


def test_drawing_leaves_the_text_as_it_is(make):
    task = make(EACH_ONCE, 5)
    before = task.corpus.parts["train"].copy()
    batch = task.batch(64, np.random.default_rng(0))
    batch.inputs.zero_(), batch.targets.zero_()
    assert np.array_equal(task.corpus.parts["train"], before)


def test_the_curve_scores_the_same_characters_at_every_lag(make):
    task = make(EACH_ONCE, 7)
    curve = {lag: places(task.on_curve(lag), "test").batch(500, np.random.default_rng(3)) for lag in (1, 2, 7, 12)}
    for lag, (inputs, targets, steps) in curve.items():
        assert torch.equal(targets, curve[1].targets)
        assert torch.equal(inputs, targets + torch.arange(-lag, 0))  # what stands before them
        assert steps.tolist() == [[lag - 1]] * 500
    assert set(curve[1].targets[:, 0].tolist()) == set(range(12, 25))  # the second half of the part


def test_the_curve_goes_on_from_a_curve(make):
    task = make(EACH_ONCE, 7)
    one, other = (each.batch(20, np.random.default_rng(0)) for each in (task.on_curve(3), task.on_curve(9).at_lag(3)))
    assert all(map(torch.equal, one, other))
    assert task.batch(20, np.random.default_rng(0)).steps.shape == (20, 7)  # itself it is no curve


def test_figures_without_memory_by_hand(make):
    task = make("aaab" * 10 + "abba" * 10, 4)  # training part: 30 of 40 are a
    assert task.chance == 0.75
    assert task.memoryless_loss == pytest.approx(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)))
    assert task.tokens == task.outputs == 3
    batch = task.part("test").batch(200, np.random.default_rng(0))
    measured = task.measure(task.blind(batch), batch)
    share = (batch.targets == 1).double().mean().item()
    assert measured["accuracy"].mean().item() == pytest.approx(share)
    expected = -share * math.log(0.75) - (1 - share) * math.log(0.25)
    assert measured["loss"].mean().item() == pytest.approx(expected, rel=1e-5)


def test_figures_without_memory_of_the_bible():
    task = make_task(compose("task=text"))
    counts = Counter(task.corpus.decode(task.corpus.parts["train"]))
    total = counts.total()
    assert counts.most_common(1)[0] == (" ", round(task.chance * total))
    assert task.chance == pytest.approx(0.190, abs=5e-4)
    assert task.memoryless_loss == pytest.approx(-sum(n / total * math.log(n / total) for n in counts.values()))
    assert UNKNOWN not in counts


@pytest.mark.parametrize(
    ("nats", "bits", "perplexity"), [(0, 0, 1), (math.log(2), 1, 2), (math.log(10), 3.3219281, 10)]
)
def test_currencies(make, nats, bits, perplexity):
    derived = make(VERSE, 5).derived({"loss": nats, "accuracy": 0.5})
    assert derived == {"bits_per_character": pytest.approx(bits), "perplexity": pytest.approx(perplexity)}


def test_perplexity_of_an_endless_loss_is_a_number(make):
    assert math.isfinite(make(VERSE, 5).derived({"loss": 1e6})["perplexity"])


def test_sample_has_the_prompt_and_as_many_characters_as_asked(make):
    task = make(VERSE, 8, prompt="God ", sample=60)
    predict = prefers([0.0] * task.tokens)
    one, again, other = (task.example(predict, np.random.default_rng(seed))["sample"] for seed in (0, 0, 1))
    assert one == again
    assert one["text"] != other["text"]
    assert one["about"] == "temperature 0.8, from the prompt 'God '"
    assert one["text"].startswith("God ")
    assert len(one["text"]) == len("God ") + 60
    assert set(one["text"][4:]) <= set(task.corpus.symbols[1:])


def test_nothing_is_generated_where_nothing_is_asked(make):
    task = make(VERSE, 8, sample=0)
    assert task.example(prefers([0.0] * task.tokens), np.random.default_rng(0))["sample"]["text"] == "The "


def test_the_unknown_character_is_never_generated(make):
    task = make(VERSE, 8, prompt="日本", sample=50)
    sample = task.example(prefers([50.0] + [0.0] * (task.tokens - 1)), np.random.default_rng(0))["sample"]["text"]
    assert sample.startswith("日本")
    assert UNKNOWN not in sample


@pytest.mark.parametrize("temperature", [0.01, 1e-310])
def test_a_cold_sample_keeps_to_the_likeliest_character(make, temperature):
    task = make("abcd" * 20, 3, prompt="a", sample=9, temperature=temperature)

    def successor(inputs: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        last = inputs.gather(1, steps)
        return torch.nn.functional.one_hot(last % 4 + 1, task.tokens).float()

    assert task.example(successor, np.random.default_rng(0))["sample"]["text"] == "abcdabcdab"


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_a_sample_has_the_shares_of_its_temperature(make, temperature):
    task = make("ab" * 50, 3, prompt="a", sample=2000, temperature=temperature)
    text = task.example(prefers([9.0, math.log(3), 0.0]), np.random.default_rng(0))["sample"]["text"]
    share = 3 ** (1 / temperature) / (1 + 3 ** (1 / temperature))
    assert text[1:].count("a") / 2000 == pytest.approx(share, abs=4 * (share * (1 - share) / 2000) ** 0.5)


def test_a_sample_sees_the_last_characters_alone(make):
    task = make("abcd" * 20, 3, prompt="dcbab", sample=20)
    shown = []

    def spy(inputs: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        assert steps.tolist() == [[inputs.shape[1] - 1]]
        shown.append(task.corpus.decode(inputs[0].tolist()))
        return torch.zeros(1, 1, task.tokens)

    text = task.example(spy, np.random.default_rng(0))["sample"]["text"]
    assert shown == [text[end - 3 : end] for end in range(5, 25)]


def test_a_sample_begins_with_less_than_a_window(make):
    task, widths = make("abcd" * 20, 5, prompt="ab", sample=6), []

    def spy(inputs: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        widths.append(inputs.shape[1])
        return torch.zeros(1, 1, task.tokens)

    task.example(spy, np.random.default_rng(0))
    assert widths == [2, 3, 4, 5, 5, 5]


@pytest.mark.parametrize(
    ("lag", "knobs", "message"),
    [
        (5, {"prompt": ""}, r"^task\.prompt must not be empty$"),
        (5, {"temperature": 0}, r"^task\.temperature must be above 0, got 0$"),
        (5, {"temperature": -1.5}, r"^task\.temperature must be above 0, got -1\.5$"),
        (5, {"sample": -1}, r"^task\.sample must be at least 0, got -1$"),
        (
            0,
            {},
            r"^task text: lag must lie from 1 to half the shortest part of corpus .*, which has 25 characters, got 0$",
        ),
        (
            13,
            {},
            r"^task text: lag must lie from 1 to half the shortest part of corpus .*, which has 25 characters, got 13$",
        ),
        (5, {"split": (0.5, 0.6)}, r"^task\.split must be two or three fractions"),
    ],
)
def test_refused(make, lag, knobs, message):
    with pytest.raises(ValueError, match=message):
        make(EACH_ONCE, lag, **knobs)


def test_the_largest_lag_works_in_every_part(make):
    task = make(EACH_ONCE, 12)
    assert task.max_lag == 12
    for one in (task, task.on_curve(12)):
        for split in ("train", "val", "test"):
            assert one.part(split).batch(200, np.random.default_rng(0)).inputs.shape == (200, 12)
    for move in (task.at_lag, task.on_curve):
        with pytest.raises(ValueError, match="got 13"):
            move(13)


def test_a_text_too_short_for_any_lag(make):
    with pytest.raises(ValueError, match="lag must lie from 1 to half the shortest part"):
        make("abcde", 1)


def test_the_record_tells_the_text(make):
    task = make(VERSE, 5)
    assert task.provenance == task.at_lag(7).provenance == task.part("val").provenance == task.corpus.provenance
