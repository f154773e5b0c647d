"""Planted facts: a sentence in real text says a digit, and much later the text asks for it."""

import copy
import math
import re
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from longlag.tasks import corpora
from longlag.tasks.task import Batch, Task, classification
from longlag.tasks.text import DEFAULT_SPLIT

NAMES = ("Anna", "Boaz", "Cain", "Dina", "Esau", "Joel", "Leah", "Mary", "Noah", "Ruth")  # of one length
QUESTION = "The code of {} is "
FACT = QUESTION + "{}. "
PATTERN = re.compile(r"\d|The code of")  # what the filler must not hold
DIGITS = "0123456789"
BEFORE = len(QUESTION.format(NAMES[0]))  # characters of a fact before its digit
WIDTH = len(FACT.format(NAMES[0], 0))
QUERY = 1 + BEFORE  # a blank before it


class TextFact(Task):
    """Remember a digit that a sentence told, through `lag` characters of real text: copy's twin in words.

    With facts=1, at lag 44::

        step     0                   20                                          64
        input    The code of Anna is 7. d of Israel out of Egypt,  The code of Anna is_
        target                                                                        7
        scored                                                                        ^

    The digit is shown at step s and must be produced at step s + `lag`, where the question ends in a blank (_). The
    text between is a window of a corpus, another in each split, without any digit and without "The code of". Several
    facts stand one after the other, about different names, and the question is about any one of them; after it the
    text goes on to the common length. At one fixed lag a player who counts steps needs no names: the digit stands `lag`
    steps back. Trained with lag_mode=uniform, it has to remember which name goes with which digit.

    Names and digits are drawn uniformly and independently: a model that remembers nothing is right in 1/10 and pays
    ln 10 nats, whatever the lag.

    Args:
        lag: steps from a digit to its production; at least 23 times `facts`, so that facts and question have room.
        facts: sentences, each about another name, from 1 to 10.
        corpus, split: as in `Text`; the text is stripped of what it must not hold, then split.
        solved_at: validation accuracy that counts as solved, or None.

    Raises:
        ValueError: where an argument is out of its range, or the corpus is not what it should be.
        OSError: where a file cannot be read.
    """

    max_lag: int
    outputs = len(DIGITS)
    chance = 1 / len(DIGITS)
    memoryless_loss = math.log(len(DIGITS))

    def __init__(
        self,
        lag: int,
        facts: int = 1,
        corpus: str = "kjv",
        split: Sequence[float] = DEFAULT_SPLIT,
        solved_at: float | None = 0.99,
    ):
        if not 1 <= facts <= len(NAMES):
            raise ValueError(f"task.facts must lie from 1 to {len(NAMES)}, got {facts}")
        self.facts, self.split, self.solved_at = facts, split, solved_at
        sentences = "".join(FACT.format(name, DIGITS) for name in NAMES)
        self.corpus = corpora.load(str(corpus), split, clean=_without_facts, extra=sentences)
        self._text = self.corpus.parts["train"]
        self.tokens = len(self.corpus.symbols)
        self.min_lag = facts * WIDTH - BEFORE - 1 + QUERY
        self.last_digit = (facts - 1) * WIDTH + BEFORE  # its step
        self.max_lag = self.corpus.shortest - self.last_digit - 1
        self._facts = np.array([[self.corpus.encode(FACT.format(name, digit)) for digit in DIGITS] for name in NAMES])
        self._queries = np.array([self.corpus.encode(" " + QUESTION.format(name)) for name in NAMES])
        self._set_lag(lag)

    def _set_lag(self, lag: int) -> None:
        if lag < self.min_lag:
            raise ValueError(f"task text_fact: lag must be at least {self.min_lag} for facts={self.facts}, got {lag}")
        if lag > self.max_lag:
            part = f"the shortest part of corpus {self.corpus.name}, of {self.corpus.shortest} characters"
            raise ValueError(f"task text_fact: {part}, has no window for a lag of {lag}")
        self.lag, self.length = lag, self.last_digit + lag + 1

    def at_lag(self, lag: int) -> Self:
        """The same task at another lag."""
        other = copy.copy(self)
        other._set_lag(lag)
        return other

    def part(self, split: str) -> Self:
        """The task with its text from one part."""
        other = copy.copy(self)
        other._text = self.corpus.parts[split]
        return other

    @property
    def provenance(self) -> dict[str, Any]:
        """The text between."""
        return self.corpus.provenance

    def batch(self, sequences: int, rng: np.random.Generator) -> Batch:
        """`sequences` fresh sequences."""
        start = rng.integers(0, len(self._text) - self.length + 1, sequences)
        inputs = self._text[start[:, None] + np.arange(self.length)]
        names = rng.permuted(np.tile(np.arange(len(NAMES)), (sequences, 1)), axis=1)[:, : self.facts]
        digits = rng.integers(0, len(DIGITS), (sequences, self.facts))
        asked = rng.integers(0, self.facts, sequences)
        row = np.arange(sequences)
        inputs[:, : self.facts * WIDTH] = self._facts[names, digits].reshape(sequences, -1)
        due = asked * WIDTH + BEFORE + self.lag
        inputs[row[:, None], due[:, None] + np.arange(1 - QUERY, 1)] = self._queries[names[row, asked]]
        return Batch(*map(torch.from_numpy, (inputs, digits[row, asked, None], due[:, None])))

    def measure(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy (nats) and right or not, at the end of the question."""
        return classification(outputs, batch.targets)

    def oracle(self, batch: Batch) -> Tensor:
        """Reads the digit where it was shown."""
        digit = batch.inputs.gather(1, batch.steps - self.lag) - int(self.corpus.encode(DIGITS[0])[0])
        return 100.0 * F.one_hot(digit, self.outputs).float()

    def blind(self, batch: Batch) -> Tensor:
        """Every digit is as likely as every other."""
        return torch.zeros(*batch.targets.shape, self.outputs)


def _without_facts(text: str) -> str:
    while PATTERN.search(text):  # taking one away may make another
        text = PATTERN.sub("", text)
    return text
