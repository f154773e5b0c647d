"""Text: a character-level language model, and how much context it uses."""

import copy
import math
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from longlag.records import schema
from longlag.records.schema import Artefact
from longlag.tasks import corpora
from longlag.tasks.task import Batch, Predict, Task, classification

DEFAULT_SPLIT = (0.9, 0.05, 0.05)


class Text(Task):
    """Predict the next character of a real text from at most `lag` preceding characters.

    With lag=6, at "God said, Let"::

        step     0  1  2  3  4  5
        input    a  i  d  ,  _  L      a window of the text, of `lag` characters (_ is a blank)
        target   i  d  ,  _  L  e      the character that follows, at every step
        scored   ^  ^  ^  ^  ^  ^

    The loss is in nats, averaged over all positions of windows drawn anywhere in a part of the text. From the same
    positions come `bits_per_character` = loss / ln 2, `perplexity` = exp loss, and the accuracy of the most likely
    character. A network starts every window without memory of the text before it.

    The **lag curve** asks another question: how much does context help? Its point at lag c scores characters of the
    second half of the test part, *the same ones at every c*, each predicted from only the last c characters.

    A predictor without memory does not even know the preceding character: `chance` is the share of the most common
    character of the training part, and `memoryless_loss` is the entropy of the character distribution. A trained head
    on a frozen random core is well above chance (accuracy .27 to .34 on `kjv`): every state contains the last
    character, which tells much about the next one. The lag curve is needed for this reason.

    Args:
        lag: context window in characters, from 1 to half the shortest part.
        corpus: `kjv` (the King James Bible, without its square brackets), `shakespeare` (Tiny Shakespeare, downloaded
            once), or the path of a UTF-8 text file.
        split: fractions of the training, validation and test parts, contiguous; if there are two, the second part is
            both validation and test, as for published values on Tiny Shakespeare.
        prompt: the beginning of the generated sample.
        temperature: sampling temperature: below 1 the sample prefers the likelier characters.
        sample: number of characters to generate after training.
        solved_at: validation accuracy from which the task counts as solved, or None.

    Raises:
        ValueError: if an argument is out of its range, or the corpus is not as expected.
        OSError: if a file cannot be read.
    """

    min_lag = 1
    max_lag: int
    probed = -1

    def __init__(
        self,
        lag: int,
        corpus: str = "kjv",
        split: Sequence[float] = DEFAULT_SPLIT,
        prompt: str = "The ",
        temperature: float = 0.8,
        sample: int = 400,
        solved_at: float | None = None,
    ):
        if not str(prompt):
            raise ValueError("task.prompt must not be empty")
        if not 0 < temperature < math.inf:
            raise ValueError(f"task.temperature must be above 0, got {temperature}")
        if sample < 0:
            raise ValueError(f"task.sample must be at least 0, got {sample}")
        self.corpus = corpora.load(str(corpus), split)
        self.split, self.prompt, self.temperature, self.sample = split, str(prompt), temperature, sample
        self.solved_at = solved_at
        self._prompt: list[int] = self.corpus.encode(self.prompt).tolist()
        self.tokens = self.outputs = len(self.corpus.symbols)
        self.max_lag = self.corpus.shortest // 2
        self._shares = np.bincount(self.corpus.parts["train"], minlength=self.tokens) / len(self.corpus.parts["train"])
        self.chance = float(self._shares.max())
        self.memoryless_loss = float(-sum(share * math.log(share) for share in self._shares if share))
        self._text = self.corpus.parts["train"]
        self._last_only = False
        self._curve_of: int | None = None  # lag of the task to whose lag curve this task belongs, if any
        self._set_lag(lag)

    def _set_lag(self, lag: int) -> None:
        if not self.min_lag <= lag <= self.max_lag:
            room = f"from 1 to half the shortest part of corpus {self.corpus.name}, which has {self.corpus.shortest}"
            raise ValueError(f"task text: lag must lie {room} characters, got {lag}")
        self.lag = self.length = lag

    def at_lag(self, lag: int) -> Self:
        """The same task with another context length."""
        other = copy.copy(self)
        other._set_lag(lag)
        return other

    def part(self, split: str) -> Self:
        """The task on one part of the text."""
        other = copy.copy(self)
        other._text = self.corpus.parts[split]
        return other

    def on_curve(self, lag: int) -> Self:
        """The task that scores the same characters at every lag, each predicted from the last `lag` characters."""
        other = self.at_lag(lag)
        other._last_only, other._curve_of = True, self.stream_lag
        return other

    @property
    def stream_lag(self) -> int:
        """For a point of a lag curve, the lag of the curve's task, so that all points score the same characters."""
        return self.lag if self._curve_of is None else self._curve_of

    def batch(self, sequences: int, rng: np.random.Generator) -> Batch:
        """Draw `sequences` windows of the current part."""
        end = len(self._text)
        if self._last_only:
            start = rng.integers(end // 2, end, sequences) - self.lag  # the drawn character is the target
        else:
            start = rng.integers(0, end - self.lag, sequences)
        windows = torch.from_numpy(self._text[start[:, None] + np.arange(self.lag + 1)])
        steps = torch.arange(self.lag)[-1 if self._last_only else 0 :].expand(sequences, -1)
        return Batch(windows[:, :-1], windows[:, 1:].gather(1, steps), steps)

    def measure(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy (nats), and whether the most likely character is the right one, at every scored step."""
        return classification(outputs, batch.targets)

    def derived(self, means: dict[str, float]) -> dict[str, float]:
        """The loss in two other common units: bits per character and perplexity."""
        bits = means["loss"] / math.log(2)
        return {"bits_per_character": bits, "perplexity": 2.0 ** min(bits, 1000.0)}  # bounded to avoid an overflow

    @property
    def provenance(self) -> dict[str, Any]:
        """Values that identify the corpus."""
        return self.corpus.provenance

    @torch.no_grad()
    def example(self, predict: Predict, rng: np.random.Generator) -> dict[str, Artefact]:
        """Generate text: each character is drawn from the distribution predicted from the last `lag` characters."""
        numbers = self._prompt.copy()
        for _ in range(self.sample):
            window = torch.tensor([numbers[-self.lag :]])
            logits = predict(window, torch.tensor([[window.shape[1] - 1]]))[0, 0].double().cpu()
            logits[0] = -math.inf  # never generate UNKNOWN
            shares = torch.softmax((logits - logits.max()) / self.temperature, dim=0).numpy()
            numbers.append(int(rng.choice(len(shares), p=shares / shares.sum())))
        text = self.prompt + self.corpus.decode(numbers[len(self._prompt) :])
        about = f"temperature {self.temperature}, from the prompt {self.prompt!r}"
        return {"sample": schema.Text(kind="text", title="Generated text", about=about, text=text)}

    def oracle(self, batch: Batch) -> Tensor:
        """Knows the text by heart: outputs the targets."""
        return 100.0 * F.one_hot(batch.targets, self.outputs).float()

    def blind(self, batch: Batch) -> Tensor:
        """Predicts the character frequencies of the training part at every step."""
        return torch.from_numpy(np.log(self._shares + 1e-30)).float().expand(*batch.steps.shape, -1)
