"""The record of a run, key by key. `docs/record.schema.json` is made of it (tools/schema.py).

Schema 2. Every number says its unit; `None` (null) stands for what could not be measured or does not apply. Keys may be
added freely: a reader keeps what it does not know. A key is renamed, or given another meaning, only with a higher
`SCHEMA` and a step in `upgrade.py`.
"""

from typing import (
    Annotated,
    Any,
    Literal,
    NotRequired,  # typing's has no room for pydantic's settings before Python 3.12
    TypeVar,
)

from annotated_types import Ge, Interval
from typing_extensions import TypedDict

SCHEMA: Literal[2] = 2

Status = Literal["finished", "failed", "diverged", "interrupted"]
Count = Annotated[int, Interval(ge=0, le=2**63)]
AtLeastOne = Annotated[int, Interval(ge=1, le=2**63)]
Seconds = Annotated[float, Ge(0)]
Kind = TypeVar("Kind", bound=type)


def checked(kind: Kind) -> Kind:
    """How a dictionary of this kind is checked when it is read: by type, without conversions, more keys allowed."""
    settings = {"strict": True, "extra": "allow", "allow_inf_nan": False, "use_attribute_docstrings": True}
    setattr(kind, "__pydantic_config__", settings)  # noqa: B010  (a dictionary type declares no attributes)
    return kind


@checked
class Budget(TypedDict):
    """What ends the training beside `max_steps`, and how wide the network is."""

    sequences: AtLeastOne | None
    """Training sequences at most."""
    seconds: float | None
    """Seconds at most: computing seconds on a CPU, wall seconds elsewhere."""
    give_up_at: float | None
    """Share of the budget at which a run ends that is no better than the memoryless baseline."""
    parameters: AtLeastOne | None
    """Trainable parameters of the whole network that the width was chosen for."""


@checked
class Validation(TypedDict):
    """When and on what a run is validated."""

    every: AtLeastOne
    """Optimiser steps between validations."""
    sequences: AtLeastOne
    """Validation sequences, the same ones each time."""


@checked
class Evaluation(TypedDict):
    """What a run is tested on."""

    lags: list[AtLeastOne] | None
    """Lags to test at; null: the default ones."""
    sequences: Count
    """Test sequences at each lag; 0: no test."""


@checked
class Configuration(TypedDict):
    """What was asked for, as `conf/` and the command line composed it; interpolations resolved, but for `${oc.env:…}`
    where a run does not depend on it.

    Groups hold the settings of their YAML file; `_target_` names a class.
    """

    lag: AtLeastOne
    """Steps between showing an item and asking for it."""
    seed: Count
    """Of the weights and of every batch."""
    stream: AtLeastOne
    """Version of the random streams that batches are drawn from; see `longlag.stream`."""
    batch_size: AtLeastOne
    """Sequences in an optimiser step."""
    max_steps: AtLeastOne
    """Optimiser steps at most."""
    lr: float
    """Learning rate."""
    model: dict[str, Any]
    """The core."""
    task: dict[str, Any]
    """The task."""
    lag_mode: dict[str, Any]
    """The lag of the training sequences."""
    optimizer: dict[str, Any]
    """The optimiser."""
    trainer: dict[str, Any]
    """Where and in which precision the run computes."""
    logger: dict[str, Any]
    """Where the metrics go."""
    runtime: dict[str, Any]
    """Threads, allocator, checkpoints."""
    validation: Validation
    eval: Evaluation
    budget: Budget
    tuned: NotRequired[str | None]
    """Name of the file under `conf/tuned` that settings were taken from."""


@checked
class Stage(TypedDict):
    """From which training batch on which lag is trained."""

    batch: Count
    """Number of the global batch."""
    lag: AtLeastOne
    """Largest lag of the batches from there on."""


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
    """The test at the trained lag, with the weights of the best validation; empty where a run was not tested.

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
    """How much gradient reaches back over one distance."""

    step: Count
    """Optimiser step of the training at which it was measured."""
    distance: Count
    """Steps back from the scored step."""
    log10_norm: float | None
    """log10 of the mean norm of dL/de, e being the encoder's output; null: zero."""
    log10_state_norm: NotRequired[float | None]
    """The same of the gradient in the recurrent state; absent where the core has none."""


@checked
class GradientScalars(TypedDict):
    """What the gradient over distance comes to, from distance 0 to the lag."""

    step: Count
    """Optimiser step of the training at which it was measured."""
    decades_per_step: float | None
    """By how many powers of ten it falls with each step of distance."""
    half_life: float | None
    """Steps of distance over which it halves; null where it does not fall."""
    horizon: Count | None
    """Largest distance at which it is at least a thousandth of that at distance 0."""
    log10_over_lag: float | None
    """log10 g(lag) / g(0)."""
    state_log10_over_lag: float | None
    """The same of the gradient in the recurrent state; null where the core has none."""


@checked
class Cost(TypedDict, total=False):
    """What the run took; empty where it never began."""

    parameters: Count
    """Trainable parameters of the whole network."""
    core_parameters: Count
    """Trainable parameters of the core."""
    head_parameters: Count | None
    """Trainable parameters of the head."""
    hidden_size: AtLeastOne
    """Width that `budget.parameters` led to."""
    feed_forward_size: AtLeastOne
    """Width of the feed-forward blocks that `budget.parameters` led to."""
    steps: Count
    """Optimiser steps taken."""
    sequences: Count
    """Training sequences seen."""
    seconds: Seconds
    """Wall seconds of training, validations included."""
    computing_seconds: Seconds | None
    """CPU seconds of the training thread; wall seconds where it does not compute on a CPU."""
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
    """Largest memory: of the process on a CPU, allocated on a GPU."""


@checked
class Sequences(TypedDict):
    """How many sequences stand behind the numbers of one kind."""

    validation: Count
    """Behind each point of `learning_curve`."""
    test: Count
    """Behind `test` and each point of `lag_curve`."""
    gradient: Count
    """Behind each point of `gradient`."""


@checked
class Artifact(TypedDict):
    """A file that the run left beside its record."""

    file: str
    """Its name, relative to the record."""
    sha256: str
    """Of its bytes, in hexadecimal digits."""


@checked
class Record(TypedDict):
    """One training run: what was asked for, how it ended, and all that was measured."""

    schema: Literal[2]
    """Version of this description."""
    status: Status
    """How the run ended; `interrupted` also while it is going on."""
    error: str | None
    """Why it did not finish."""
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
    """Names the identity of the run: 16 hexadecimal digits (see `longlag.records.identity`)."""
    command: str | None
    """The command that makes this run by itself."""
    started: str | None
    """When the run was begun first: wall clock, UTC, ISO 8601. null in records of before schema 2."""
    ended: str | None
    """When this record was written last."""
    training_lags: list[Stage]
    learning_curve: list[Validated]
    ended_by: str | None
    """What ended the training: `solved`, `steps`, `sequences`, `seconds` or `hopeless`; null where it was cut short."""
    solved: bool
    """Whether the validation accuracy reached `task.solved_at` at two consecutive validations."""
    steps_to_solve: Count | None
    """Optimiser steps up to the first of the two; null where it was not solved."""
    sequences_to_solve: Count | None
    """Training sequences up to there."""
    seconds_to_solve: Seconds | None
    """Wall seconds up to there."""
    best_step: Count | None
    """Optimiser step of the weights that were kept: those of the lowest validation loss."""
    test: Test
    lag_curve: list[LagPoint]
    gradient: list[GradientPoint]
    gradient_scalars: list[GradientScalars]
    sequences: Sequences
    data: dict[str, Any]
    """What tells the data from all others: name, sha256 and size of a corpus; empty where data are made up."""
    example: dict[str, Any]
    """What the trained network made, to be looked at: forecasts, generated text."""
    cost: Cost
    environment: dict[str, Any]
    """Versions, commit, platform, processor (`cpu`, `cpu_count`), device, threads, allocator, number of processes."""
    artifacts: list[Artifact]
    """The weights."""
    folder: NotRequired[str]
    """Where it was read from; not stored."""
