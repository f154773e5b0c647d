"""Planted facts: a sentence in a real text states a digit, and much later a question asks for it."""

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

NAMES = ("Anna", "Boaz", "Cain", "Dina", "Esau", "Joel", "Leah", "Mary", "Noah", "Ruth")  # all of the same length
QUESTION = "The code of {} is "
FACT = QUESTION + "{}. "
PATTERN = re.compile(r"\d|The code of")  # removed from the filler text
DIGITS = "0123456789"
BEFORE = len(QUESTION.format(NAMES[0]))  # characters of a fact before its digit
WIDTH = len(FACT.format(NAMES[0], 0))  # characters of a fact
QUERY = 1 + BEFORE  # characters of a question, with a blank before it


class TextFact(Task):
    """Recall a digit that a sentence stated, after `lag` characters of real text: the copy task in words.

    With facts=1, at lag 44::

        step     0                   20                                          64
        input    The code of Anna is 7. d of Israel out of Egypt,  The code of Anna is_
        target                                                                        7
        scored                                                                        ^

    The digit is shown at step s and must be produced at step s + `lag`, where the question ends with a blank (_). The
    filler text is a window of a corpus, from a different part for each split, without any digit and without "The code
    of". Several facts follow one another, about different names, and the question asks for one of them; after the
    question the text continues up to the common length. At one fixed lag a network that counts steps needs no names:
    the digit is always `lag` steps back. With lag_mode=uniform it must remember which name belongs to which digit.

    Names and digits are drawn uniformly and independently: a predictor without memory has accuracy 1/10 and a loss of
    ln 10 nats, at every lag.

    Args:
        lag: steps from a digit to its recall; at least 23 times `facts`, so that facts and question fit.
        facts: number of sentences, each about another name, from 1 to 10.
        corpus, split: as in `Text`; digits and "The code of" are removed from the text before it is split.
        solved_at: validation accuracy from which the task counts as solved, or None.

    Raises:
        ValueError: if an argument is out of its range, or the corpus is not as expected.
        OSError: if a file cannot be read.
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
        self.last_digit = (facts - 1) * WIDTH + BEFORE  # step of the last fact's digit
        self.max_lag = self.corpus.shortest - self.last_digit - 1
        self._facts = np.array([[self.corpus.encode(FACT.format(name, digit)) for digit in DIGITS] for name in NAMES])
        self._queries = np.array([self.corpus.encode(" " + QUESTION.format(name)) for name in NAMES])
        self._set_lag(lag)

    def _set_lag(self, lag: int) -> None:
        if lag < self.min_lag:
            raise ValueError(f"task text_fact: lag must be at least {self.min_lag} for facts={self.facts}, got {lag}")
        if lag > self.max_lag:
            part = f"the shortest part of corpus {self.corpus.name}, of {self.corpus.shortest} characters"
            raise ValueError(f"task text_fact: {part}, is too short for a lag of {lag}")
        self.lag, self.length = lag, self.last_digit + lag + 1

    def at_lag(self, lag: int) -> Self:
        """The same task at another lag."""
        other = copy.copy(self)
        other._set_lag(lag)
        return other

    def part(self, split: str) -> Self:
        """The task with filler text from one part of the corpus."""
        other = copy.copy(self)
        other._text = self.corpus.parts[split]
        return other

    @property
    def provenance(self) -> dict[str, Any]:
        """Values that identify the corpus."""
        return self.corpus.provenance

    def batch(self, sequences: int, rng: np.random.Generator) -> Batch:
        """Draw `sequences` new sequences: filler text that starts with the facts and contains the question."""
        start = rng.integers(0, len(self._text) - self.length + 1, sequences)
        inputs = self._text[start[:, None] + np.arange(self.length)]
        names = rng.permuted(np.tile(np.arange(len(NAMES)), (sequences, 1)), axis=1)[:, : self.facts]
        digits = rng.integers(0, len(DIGITS), (sequences, self.facts))
        asked = rng.integers(0, self.facts, sequences)
        row = np.arange(sequences)
        inputs[:, : self.facts * WIDTH] = self._facts[names, digits].reshape(sequences, -1)
        due = asked * WIDTH + BEFORE + self.lag  # the scored step, `lag` steps after the digit
        inputs[row[:, None], due[:, None] + np.arange(1 - QUERY, 1)] = self._queries[names[row, asked]]
        return Batch(*map(torch.from_numpy, (inputs, digits[row, asked, None], due[:, None])))

    def measure(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy (nats), and whether the digit is right, at the end of the question."""
        return classification(outputs, batch.targets)

    def oracle(self, batch: Batch) -> Tensor:
        """Reads the digit at the step where it was shown."""
        digit = batch.inputs.gather(1, batch.steps - self.lag) - int(self.corpus.encode(DIGITS[0])[0])
        return 100.0 * F.one_hot(digit, self.outputs).float()

    def blind(self, batch: Batch) -> Tensor:
        """Predicts every digit with the same probability."""
        return torch.zeros(*batch.targets.shape, self.outputs)


def _without_facts(text: str) -> str:
    while PATTERN.search(text):  # removing one match may create another
        text = PATTERN.sub("", text)
    return text
