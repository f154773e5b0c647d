"""The keys of a run's record, with their types and meanings. `tools/schema.py` makes `docs/record.schema.json` of them.

The description of each number names its unit. `None` (null in JSON) means that a value could not be measured or does
not apply. New keys may be added freely, since a reader keeps keys that it does not know. To rename a key or change its
meaning, raise `SCHEMA` and add a step to `upgrade.py`.
"""

from typing import (
    Annotated,
    Any,
    Literal,
    NotRequired,
    TypeVar,
)

from annotated_types import Ge, Interval, MinLen
from pydantic import AfterValidator, Discriminator, StringConstraints
from typing_extensions import TypedDict  # before Python 3.12 pydantic does not accept the one in typing

SCHEMA: Literal[2] = 2

Status = Literal["finished", "failed", "diverged", "interrupted"]
Count = Annotated[int, Interval(ge=0, le=2**63)]
AtLeastOne = Annotated[int, Interval(ge=1, le=2**63)]
Seconds = Annotated[float, Ge(0)]
Kind = TypeVar("Kind", bound=type)


def checked(kind: Kind) -> Kind:
    """Set how pydantic validates this dictionary type: strict types without conversion, unknown keys allowed."""
    settings = {"strict": True, "extra": "allow", "allow_inf_nan": False, "use_attribute_docstrings": True}
    setattr(kind, "__pydantic_config__", settings)  # noqa: B010  (a dictionary type declares no attributes)
    return kind


def _equally_long(rows: list[list[float | None]]) -> list[list[float | None]]:
    """The rows. Raises ValueError if they differ in length."""
    if len(set(map(len, rows))) > 1:
        raise ValueError("the rows of an image must be equally long")
    return rows


@checked
class Text(TypedDict):
    """An artefact: text that the network generated."""

    kind: Literal["text"]
    """Says that it is text."""
    title: str
    """What it shows, as a heading."""
    about: str
    """How the text came about, in words."""
    text: str
    """The text itself."""


@checked
class Curve(TypedDict):
    """One curve of a panel; its points are one step apart."""

    name: str
    """What the legend calls it."""
    role: Literal["input", "target", "output"]
    """What the network saw, what it should give, or what it gave."""
    start: Count
    """Step of the first value."""
    values: list[float | None]
    """A value for each step; null: not finite."""


@checked
class Curves(TypedDict):
    """An artefact: panels of curves over the steps of a sequence, one sequence in each panel."""

    kind: Literal["curves"]
    """Says that it is curves."""
    title: str
    """What they show, as a heading."""
    y: str
    """Name of the vertical axis, with its unit."""
    panels: Annotated[list[Annotated[list[Curve], MinLen(1)]], MinLen(1)]
    """The curves of each panel."""


@checked
class Image(TypedDict):
    """An artefact: numbers drawn as a grey image, such as an attention map or a picture that the network completed."""

    kind: Literal["image"]
    """Says that it is an image."""
    title: str
    """What it shows, as a heading."""
    x: str
    """Name of the horizontal axis."""
    y: str
    """Name of the vertical axis."""
    values: Annotated[list[Annotated[list[float | None], MinLen(1)]], MinLen(1), AfterValidator(_equally_long)]
    """Rows from top to bottom, all equally long; black is the smallest value, white the largest."""


Artefact = Annotated[Text | Curves | Image, Discriminator("kind")]
ArtefactName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,39}$")]  # also the name of its file


@checked
class Budget(TypedDict):
    """Limits of the training besides `max_steps`, and the parameters that set the width of the network."""

    sequences: AtLeastOne | None
    """Largest number of training sequences."""
    seconds: float | None
    """Longest training time: computing seconds on a CPU, wall seconds elsewhere."""
    no_progress_at: float | None
    """Share of the budget after which a run ends early if it has not beaten the memoryless baseline."""
    parameters: AtLeastOne | None
    """Trainable parameters of the whole network that the width is chosen to match."""
    core_parameters: AtLeastOne | None
    """Trainable parameters of the core alone that the width is chosen to match."""


@checked
class Validation(TypedDict):
    """When and on what a run is validated."""

    every: AtLeastOne
    """Optimiser steps between validations."""
    sequences: AtLeastOne
    """Number of validation sequences; all validations use the same ones."""


@checked
class Evaluation(TypedDict):
    """What a run is tested on."""

    lags: list[AtLeastOne] | None
    """Lags to test at; null: the default lags."""
    sequences: Count
    """Test sequences at each lag; 0: no test."""


@checked
class TaskSettings(TypedDict):
    """The task: its class, the lag, and its own settings."""

    solved_at: NotRequired[float | None]
    """Validation accuracy that counts as solved; null or absent: the task is never solved."""


@checked
class Tuned(TypedDict):
    """How the settings of the run were tuned."""

    file: str
    """Name of the file under `conf/tuned`."""
    lag: AtLeastOne | None
    """Lag that they were tuned at; null: the file does not say, or names several."""
    learned: bool | None
    """Whether tuning beat the memoryless baseline; false: the model kept its own settings; null: not known."""
    at_edge: dict[str, str]
    """`smallest` or `largest` of those tried, for each setting whose tuned value is that."""


@checked
class Configuration(TypedDict):
    """All settings, composed from `conf/` and the command line. Interpolations are resolved, except `${oc.env:…}` in
    settings that the run does not depend on.

    Each config group holds the settings of its YAML file; `_target_` names a class.
    """

    lag: AtLeastOne
    """Steps between showing an item and asking for it."""
    seed: Count
    """Random seed of the initial weights and of every batch."""
    code: NotRequired[str | None]
    """Hash of the source of a core that was given from Python; null without a source, absent for a core of a YAML."""
    stream: AtLeastOne
    """Version of the random streams that batches are drawn from; see `longlag.stream`."""
    batch_size: AtLeastOne
    """Sequences for each optimiser step."""
    max_steps: AtLeastOne
    """Largest number of optimiser steps."""
    lr: float
    """Learning rate."""
    embedding: Literal["fixed", "learned"] | None
    """How more than 128 symbols are read; null: by a fixed embedding with `budget.core_parameters`, else a learned."""
    model: dict[str, Any]
    """The core."""
    task: TaskSettings
    lag_mode: dict[str, Any]
    """How the lag of the training sequences is chosen."""
    optimizer: dict[str, Any]
    """The optimiser."""
    trainer: dict[str, Any]
    """Device and numerical precision."""
    logger: dict[str, Any]
    """Where the metrics are logged."""
    runtime: dict[str, Any]
    """Threads, allocator, checkpoints."""
    validation: Validation
    eval: Evaluation
    budget: Budget
    tuned: NotRequired[str | None]
    """Name of the file under `conf/tuned` that settings were taken from."""
    tuning: NotRequired[Tuned | None]
    """How they were tuned, or that nothing was learned; absent in older records. Not part of the identity."""


@checked
class Stage(TypedDict):
    """A stage of the training: its first batch and its largest lag."""

    batch: Count
    """Number of the first global batch of the stage."""
    lag: AtLeastOne
    """Largest lag of the batches from this one on."""


@checked
class Validated(TypedDict):
    """One validation."""

    step: Count
    """Optimiser steps taken."""
    accuracy: float
    """Validation accuracy, from 0 to 1."""
    loss: float
    """Validation loss, in nats for classification and in the task's unit elsewhere."""


@checked
class Test(TypedDict, total=False):
    """The test at the trained lag, with the weights of the best validation; empty if the run was not tested.

    A task adds its own measures, and for some of them `NAME_by_position`, a list with an entry for each scored step.
    """

    accuracy: float
    """Test accuracy, from 0 to 1."""
    loss: float | None
    """Test loss, in the unit of the task; null where it is not finite."""
    chance: float
    """Accuracy of the best predictor without memory."""
    memoryless_loss: float
    """Loss of the best predictor without memory."""
    sequences: AtLeastOne
    """Test sequences behind these numbers."""
    bits_per_character: float
    """Loss of a text task in bits."""
    accuracy_by_position: list[float]
    """Accuracy at each scored step."""


@checked
class LagPoint(TypedDict):
    """The trained network tested at one lag. A task adds its own measures."""

    lag: AtLeastOne
    """Lag tested at, in steps."""
    accuracy: float
    """Test accuracy, from 0 to 1."""
    loss: float | None
    """Test loss, in the unit of the task; null where it is not finite."""
    chance: float
    """Accuracy of the best predictor without memory at this lag."""
    sequences: AtLeastOne
    """Test sequences behind these numbers."""


@checked
class GradientPoint(TypedDict):
    """The size of the gradient at one distance."""

    step: Count
    """Optimiser step of the training at which it was measured."""
    distance: Count
    """Steps back from the scored step."""
    log10_norm: float | None
    """log10 of the mean norm of dL/de, where e is the output of the encoder; null: the norm is zero."""
    log10_state_norm: NotRequired[float | None]
    """The same for the gradient with respect to the recurrent state; absent if the core has none."""


@checked
class GradientScalars(TypedDict):
    """Summary numbers of the gradient over the distances from 0 to the lag."""

    step: Count
    """Optimiser step of the training at which it was measured."""
    decades_per_step: float | None
    """Powers of ten by which the gradient falls with each step of distance."""
    half_life: float | None
    """Steps of distance over which the gradient halves; null if it does not fall."""
    horizon: Count | None
    """Largest distance at which the gradient is at least a thousandth of that at distance 0."""
    log10_over_lag: float | None
    """log10 g(lag) / g(0)."""
    state_log10_over_lag: float | None
    """The same for the gradient with respect to the recurrent state; null if the core has none."""


@checked
class Cost(TypedDict, total=False):
    """The cost of the run; empty if training never began."""

    parameters: Count
    """Trainable parameters of the whole network."""
    core_parameters: Count
    """Trainable parameters of the core."""
    head_parameters: Count | None
    """Trainable parameters of the head."""
    encoder: Literal["one-hot", "learned embedding", "fixed embedding", "values"]
    """What the core reads; only a learned embedding has parameters. Absent in older records."""
    hidden_size: AtLeastOne
    """Width chosen to match `budget.parameters` or `budget.core_parameters`."""
    feed_forward_size: AtLeastOne
    """Width of the feed-forward blocks chosen to match `budget.parameters` or `budget.core_parameters`."""
    steps: Count
    """Optimiser steps taken."""
    sequences: Count
    """Training sequences seen."""
    seconds: Seconds
    """Wall seconds of training, including validation."""
    computing_seconds: Seconds | None
    """CPU seconds of the training thread; wall seconds if the run does not compute on a CPU."""
    validation_seconds: Seconds
    """Wall seconds of validation."""
    probe_seconds: Seconds
    """Wall seconds of gradient measurements during training."""
    check_seconds: Seconds
    """Wall seconds of checking the core before training."""
    test_seconds: Seconds
    """Wall seconds of testing."""
    tokens_per_second: float | None
    """Time steps of training sequences per second of training steps."""
    peak_memory_bytes: Count | None
    """Peak memory in bytes: of the process on a CPU, allocated by it on a GPU."""


@checked
class Sequences(TypedDict):
    """Number of sequences behind the results of each kind."""

    validation: Count
    """Behind each point of `learning_curve`."""
    test: Count
    """Behind `test` and each point of `lag_curve`."""
    gradient: Count
    """Behind each point of `gradient`."""


@checked
class Artifact(TypedDict):
    """A file that the run wrote beside its record."""

    file: str
    """Path of the file, relative to the record."""
    sha256: str
    """SHA-256 of the file, in hexadecimal digits."""


@checked
class Record(TypedDict):
    """One training run: its settings, how it ended, and everything that was measured."""

    schema: Literal[2]
    """Version of this description."""
    status: Status
    """How the run ended; also `interrupted` while it is running."""
    error: str | None
    """Why the run did not finish; null if it finished."""
    model: str
    """Name of the model's YAML file."""
    task: str
    """Name of the task's YAML file."""
    lag: AtLeastOne
    """As in `config`."""
    seed: Count
    """As in `config`."""
    config: Configuration
    config_hash: str
    """Hash of the identity of the run: 16 hexadecimal digits (see `longlag.records.identity`)."""
    command: str | None
    """The command that repeats this run alone."""
    started: str | None
    """When the run first began: wall clock, UTC, ISO 8601; null in records older than schema 2."""
    ended: str | None
    """When the run last ended, in the form of `started`; null if it has not ended yet."""
    training_lags: list[Stage]
    learning_curve: list[Validated]
    ended_by: str | None
    """What ended the training: `solved`, `steps`, `sequences`, `seconds` or `no progress`; null: it was cut short."""
    solved: bool
    """Whether the validation accuracy reached `task.solved_at` at two consecutive validations."""
    still_improving: bool | None
    """Whether the run was not solved, and its best validation loss lies in the last fifth of the training, lower than
    any before by 2% of the memoryless loss; null if that is unknown."""
    steps_to_solve: Count | None
    """Optimiser steps up to the first of the two; null if the run was not solved."""
    sequences_to_solve: Count | None
    """Training sequences up to that step; null if the run was not solved."""
    seconds_to_solve: Seconds | None
    """Wall seconds up to that step; null if the run was not solved."""
    best_step: Count | None
    """Optimiser step of the weights that were kept: those of the lowest validation loss."""
    test: Test
    lag_curve: list[LagPoint]
    gradient: list[GradientPoint]
    gradient_scalars: list[GradientScalars]
    sequences: Sequences
    data: dict[str, Any]
    """What identifies the data: name, SHA-256 and size of a corpus; empty if the data are generated."""
    example: dict[ArtefactName, Artefact]
    """Artefacts of the trained network for readers to look at, by name: forecasts, generated text."""
    cost: Cost
    environment: dict[str, Any]
    """Versions, commit, platform, processor (`cpu`, `cpu_count`), device, threads, allocator, number of processes, and
    the implementation of the core that ran: `kernels` is `library` or `native` for `rnn`, `lstm`, `gru` and
    `transformer`, `native`, `fused` or `reference` for the cells from scratch, and absent for other cores."""
    artifacts: list[Artifact]
    """The weights."""
    folder: NotRequired[str]
    """Folder that the record was read from; not stored."""


def without_results() -> Any:
    """The entries of a record that hold how a run went, of a run that has not begun."""
    return {
        "error": None,
        "command": None,
        "ended": None,
        "training_lags": [],
        "learning_curve": [],
        "ended_by": None,
        "solved": False,
        "still_improving": None,
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
