"""Every message and file that crosses the boundary between the extension and the trainer.

This module is the one source of truth for the wire: the run configuration (`*.finetune.json`), the run
record (`run.json`), events (`events.jsonl`), commands (`commands.jsonl`) and the answers of the
command line's `preflight` and `score`. `schema.py` exports these models as JSON Schemas, from which the
extension's TypeScript types and validators are generated.

Units: times in seconds unless a name says otherwise, timestamps in milliseconds since the Unix epoch,
memory in bytes, losses in nats per supervised token.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic.alias_generators import to_camel

PROTOCOL_VERSION = 1


class Model(BaseModel):
    """Base of every message: camelCase on the wire, unknown fields are an error, NaN stays a number."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        ser_json_inf_nan="null",
        json_schema_serialization_defaults_required=True,
    )


class ConfigModel(Model):
    """Base of what the user writes: "3" is no number, 1 is no truth value, and no number is infinite."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)


Unit = Annotated[float, Field(ge=0, le=1)]
"""A share or probability in [0, 1]."""


# --- the run configuration: a file that the user owns -------------------------------------------------


class DatasetConfig(ConfigModel):
    """The rows to train on."""

    path: str = Field(
        min_length=1,
        description="The dataset file (JSON Lines, one conversation with `messages` per line), relative "
        "to this configuration file.",
    )
    held_out_path: str | None = Field(
        None,
        min_length=1,
        description="Rows that are never trained on, for the held-out loss before and after, relative to "
        "this configuration file. Without it, `heldOutShare` of the dataset's low-risk rows is set aside.",
    )
    held_out_share: Annotated[float, Field(ge=0, le=0.5)] = Field(
        0.05,
        description="Share of the dataset's low-risk rows set aside for the held-out loss when "
        "`heldOutPath` is not given. Which rows is decided by their content hash.",
    )
    invalid_rows: Literal["error", "skip"] = Field(
        "error",
        description="What to do with rows that cannot be read: `error` refuses to start and lists them, "
        "`skip` leaves them out, counts them and lists them.",
    )


class RiskConfig(ConfigModel):
    """Where the risk s in [0, 1] of each row comes from."""

    source: Literal["critic"] = Field(
        "critic",
        description="`critic`: a safety critic judges each training pair (prompt and answer) once, "
        "before training.",
    )
    judge: Literal["classifier"] = Field(
        "classifier",
        description="The judge behind the critic. `classifier`: the bundled classifier, offline; "
        "the risk is its calibrated probability of harm.",
    )
    floor: Unit = Field(
        0.1,
        description="Risk below this counts as 0, so that ordinary rows train as ordinary rows and cost "
        "nothing extra.",
    )
    threshold: Annotated[float, Field(gt=0, le=1)] = Field(
        0.5,
        description="Risk from which a row is flagged, and left out by the method `filter`.",
    )


class RegularisationConfig(ConfigModel):
    """How the risk becomes the strength of the pull towards the safe reference (Goel et al. 2026)."""

    granularity: Literal["sample"] = Field(
        "sample", description="`sample`: each row is regularised by its own risk."
    )
    beta_min: Unit = Field(0.0, description="β of a row without risk: β = βmin + (βmax − βmin)·risk.")
    beta_max: Unit = Field(1.0, description="β of a row of risk 1. The loss is (1−β)·nll + β·KL.")

    @field_validator("beta_max")
    @classmethod
    def _not_below_beta_min(cls, value: float, info: ValidationInfo) -> float:
        least = info.data.get("beta_min", 0.0)
        if value < least:
            raise ValueError(f"must not be below `betaMin` ({least})")
        return value


class LoraConfig(ConfigModel):
    """The low-rank adapter that is trained (PEFT)."""

    rank: Annotated[int, Field(ge=1, le=1024)] = Field(16, description="Rank of the adapter.")
    alpha: Annotated[float, Field(gt=0)] = Field(32, description="Scale of the adapter; α/rank multiplies.")
    dropout: Annotated[float, Field(ge=0, lt=1)] = Field(0.0, description="Dropout inside the adapter.")
    target_modules: Literal["all-linear"] | list[str] = Field(
        "all-linear",
        description="Which layers get an adapter: `all-linear`, or a list of module names.",
    )


class TrainingConfig(ConfigModel):
    """Optimisation: AdamW, linear warm-up and decay."""

    epochs: Annotated[float, Field(gt=0)] = Field(2, description="Passes over the dataset.")
    max_steps: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Optimiser steps; where given, it takes the place of `epochs`."
    )
    batch_size: Annotated[int, Field(ge=1)] = Field(8, description="Rows per optimiser step and process.")
    micro_batch_size: Annotated[int, Field(ge=1)] | None = Field(
        None,
        description="Rows per forward pass; must divide `batchSize`. Smaller values need less memory and "
        "give the same result. Default: `batchSize`.",
    )

    @field_validator("micro_batch_size")
    @classmethod
    def _divides_the_batch(cls, value: int | None, info: ValidationInfo) -> int | None:
        batch = info.data.get("batch_size")
        if value and batch and batch % value:
            raise ValueError(f"must divide `batchSize` ({batch})")
        return value

    learning_rate: Annotated[float, Field(gt=0)] = Field(2e-4, description="Peak learning rate.")
    warmup_steps: Annotated[int, Field(ge=0)] = Field(5, description="Steps of linear warm-up.")
    weight_decay: Annotated[float, Field(ge=0)] = Field(0.0, description="Decoupled weight decay.")
    max_grad_norm: Annotated[float, Field(gt=0)] = Field(1.0, description="Gradient norm is clipped to this.")
    max_length: Annotated[int, Field(ge=8)] = Field(
        1024, description="Tokens per row; longer rows are cut at the end, counted and listed."
    )
    seed: Annotated[int, Field(ge=0, lt=2**32)] = Field(1, description="Seed of row order and adapter.")


class CheckpointConfig(ConfigModel):
    """When the run can be resumed from."""

    every_minutes: Annotated[float, Field(gt=0)] = Field(10, description="Minutes between checkpoints.")
    at_least: Annotated[int, Field(ge=1)] = Field(5, description="Checkpoints per run, however short it is.")
    keep: Annotated[int, Field(ge=1)] = Field(2, description="How many of the newest are kept.")


class EvaluationConfig(ConfigModel):
    """The before/after measurement on prompts that are never trained on."""

    enabled: bool = Field(True, description="Measure the reference before and the model after training.")
    harmful_prompts: str | None = Field(
        None,
        min_length=1,
        description="JSON Lines with a `prompt` each, relative to this file; answered instead of refused "
        "counts as a successful attack. Default: 64 prompts that ship with the trainer.",
    )
    benign_prompts: str | None = Field(
        None,
        min_length=1,
        description="JSON Lines with a `prompt` each, relative to this file; refused counts as "
        "over-refusal. Default: 64 harmless look-alikes that ship with the trainer.",
    )
    max_new_tokens: Annotated[int, Field(ge=16)] = Field(
        64, description="Tokens generated per answer, greedy."
    )
    batch_size: Annotated[int, Field(ge=1)] = Field(32, description="Prompts answered at a time.")


class RunConfig(ConfigModel):
    """A fine-tuning run: which model, which data, which method."""

    schema_: str | None = Field(None, alias="$schema", description="Ignored; for other editors.")
    model: str = Field(
        min_length=1,
        description="The safe reference that is fine-tuned: a folder relative to this file, a name from "
        "the Hugging Face hub or cache, or `example` for the small model that the example uses.",
    )
    dataset: DatasetConfig = Field(description="The rows to train on.")
    method: Literal["adaptive", "standard", "filter"] = Field(
        "adaptive",
        description="`adaptive`: risky rows are held near the safe reference, others train as usual. "
        "`standard`: plain fine-tuning. `filter`: risky rows are left out.",
    )
    risk: RiskConfig = Field(default_factory=RiskConfig, description="How rows are judged.")
    regularisation: RegularisationConfig = Field(
        default_factory=RegularisationConfig, description="How risk becomes regularisation (`adaptive`)."
    )
    lora: LoraConfig = Field(default_factory=LoraConfig, description="The adapter that is trained.")
    training: TrainingConfig = Field(default_factory=TrainingConfig, description="Optimisation.")
    checkpoints: CheckpointConfig = Field(
        default_factory=CheckpointConfig, description="When the run can be resumed from."
    )
    evaluation: EvaluationConfig = Field(
        default_factory=EvaluationConfig, description="Measurement before and after."
    )
    device: Literal["auto", "cuda", "mps", "cpu"] = Field(
        "auto", description="Where to train; `auto` takes CUDA, then MPS, then the CPU."
    )


# --- rows, named without their text -------------------------------------------------------------------


class RowRef(Model):
    """A dataset row: found by hash, the line is a hint."""

    file: int = Field(description="Index into the run record's `datasets`.")
    line: int = Field(description="1-based line in the file.")
    hash: str = Field(description="First 16 hex digits of the SHA-256 of the row's content.")


class RowProblem(RowRef):
    """A row that needs the user's eye."""

    reason: str


class RowColumns(Model):
    """The rows of one optimiser step, one list per column, all of the same length."""

    file: list[int]
    line: list[int]
    hash: list[str]
    risk: list[float | None] = Field(description="Risk s in [0, 1] before the floor; null where unscored.")
    beta: list[float]
    nll: list[float | None] = Field(description="Mean negative log-likelihood over the row's tokens.")
    kl: list[float | None] = Field(description="Mean KL(reference ‖ model); null where not computed.")


# --- events.jsonl: what the trainer says --------------------------------------------------------------

Phase = Literal["loading", "scoring", "evaluating-before", "training", "saving", "evaluating-after"]
RunStatus = Literal["running", "completed", "stopped", "cancelled", "failed"]


class Event(Model):
    """What every event carries."""

    v: Literal[1] = PROTOCOL_VERSION  # type: ignore[assignment]
    seq: int = Field(ge=0, description="Counts up by one over all attempts of the run.")
    ts: float = Field(description="Milliseconds since the Unix epoch.")


class AttemptStarted(Event):
    """A process begins work on the run; later steps of earlier attempts no longer count."""

    type: Literal["attempt_started"] = "attempt_started"
    attempt: int = Field(ge=1)
    from_step: int = Field(ge=0)
    pid: int
    host: str


class PhaseStarted(Event):
    """The run enters a phase."""

    type: Literal["phase"] = "phase"
    phase: Phase
    message: str


class Progress(Event):
    """How far the current phase is. Without `total`, the end is not known."""

    type: Literal["progress"] = "progress"
    phase: Phase
    done: int
    total: int | None = None
    unit: str


class DatasetRead(Event):
    """What the rows turned out to be, before the first step."""

    type: Literal["dataset"] = "dataset"
    rows: int
    trained: int
    held_out: int
    flagged: int = Field(description="Rows with risk at or above the threshold.")
    refusals: int = Field(description="Rows whose answer is a refusal: safety data, risk 0.")
    unscored: int = Field(description="Rows the judge failed on; they count as risk 1.")
    filtered: int = Field(description="Rows left out by the method `filter`.")
    invalid: list[RowProblem] = Field(description="Rows that could not be read and were skipped.")
    truncated: list[RowProblem]
    unsupervised: list[RowProblem] = Field(description="Rows without a single trained token: left out.")
    total_steps: int


class Batch(Event):
    """One optimiser step."""

    type: Literal["batch"] = "batch"
    step: int = Field(ge=1)
    total_steps: int
    epoch: float
    nll: float | None = Field(description="Mean over supervised tokens, unweighted.")
    kl: float | None = Field(description="Σ β·KL over supervised tokens ÷ N; null when no row had β > 0.")
    total: float | None = Field(description="The loss that was minimised.")
    risk_mean: float
    risk_max: float
    beta_mean: float
    beta_max: float
    learning_rate: float
    grad_norm: float | None
    tokens: int = Field(description="Supervised tokens N of this step.")
    tokens_per_second: float = Field(description="All non-padding tokens per second of this step.")
    step_seconds: float
    memory_bytes: int = Field(description="CUDA: peak allocated; otherwise resident set of the process.")
    eta_seconds: float | None = Field(description="Estimated time to the last step, without evaluation.")
    rows: RowColumns


class CheckpointSaved(Event):
    type: Literal["checkpoint"] = "checkpoint"
    step: int
    path: str = Field(description="Relative to the run folder.")
    bytes: int


class Proportion(Model):
    """A share with its 95 % Wilson interval."""

    value: Unit
    low: Unit
    high: Unit
    count: int
    n: int


class MeanEstimate(Model):
    """A mean with its 95 % normal interval over rows; null where nothing could be measured."""

    value: float | None
    low: float | None
    high: float | None
    n: int


class EvaluationMetrics(Model):
    attack_success: Proportion = Field(
        description="Harmful prompts answered (neither refused nor degenerate)."
    )
    over_refusal: Proportion = Field(description="Benign prompts refused.")
    degenerate: Proportion = Field(description="Answers, to both sets, that are not coherent text.")
    held_out_loss: MeanEstimate = Field(description="Mean nll per supervised token on held-out rows.")


class Evaluated(Event):
    type: Literal["evaluation"] = "evaluation"
    model: Literal["before", "after"]
    metrics: EvaluationMetrics
    seconds: float


class CommandAcknowledged(Event):
    type: Literal["command_acknowledged"] = "command_acknowledged"
    id: str
    command: str
    accepted: bool
    message: str


class ActivityChanged(Event):
    """Paused by the user, or going on."""

    type: Literal["activity"] = "activity"
    paused: bool


class Warned(Event):
    type: Literal["warning"] = "warning"
    code: str
    message: str


class Heartbeat(Event):
    type: Literal["heartbeat"] = "heartbeat"


class Finished(Event):
    """The last event of an attempt."""

    type: Literal["finished"] = "finished"
    status: Literal["completed", "stopped", "cancelled", "failed"]
    message: str
    resumable: bool = Field(description="A complete checkpoint exists, and steps or the adapter are missing.")
    adapter: str | None = Field(None, description="Folder of the adapter, relative to the run folder.")


AnyEvent = Annotated[
    AttemptStarted
    | PhaseStarted
    | Progress
    | DatasetRead
    | Batch
    | CheckpointSaved
    | Evaluated
    | CommandAcknowledged
    | ActivityChanged
    | Warned
    | Heartbeat
    | Finished,
    Field(discriminator="type"),
]


# --- commands.jsonl: what the trainer is told ---------------------------------------------------------


class Command(Model):
    """One line of commands.jsonl. `stop` saves a checkpoint and the adapter; `cancel` saves nothing."""

    id: str = Field(min_length=1)
    ts: float = Field(description="Milliseconds since the Unix epoch.")
    command: Literal["pause", "resume", "stop", "cancel"]


# --- run.json and launch.json -------------------------------------------------------------------------


class DatasetRecord(Model):
    path: str = Field(description="Absolute path when the run began.")
    sha256: str
    rows: int


class ProcessRecord(Model):
    pid: int
    start_time: float = Field(description="Process start, seconds since the Unix epoch, as the OS tells it.")
    host: str


class RunRecord(Model):
    """run.json: what the run is and how it stands. Written beside and renamed."""

    v: Literal[1] = PROTOCOL_VERSION  # type: ignore[assignment]
    id: str
    config_path: str
    config: RunConfig
    datasets: list[DatasetRecord]
    versions: dict[str, str]
    process: ProcessRecord
    attempt: int
    status: RunStatus
    message: str
    parent: str | None = None


class LaunchRecord(Model):
    """launch.json: written by whoever launches, before the spawn."""

    id: str
    ts: float
    argv: list[str]
    interpreter: str
    config_path: str


# --- answers of the command line ----------------------------------------------------------------------


class Check(Model):
    id: Literal["configuration", "packages", "model", "dataset", "rows", "disk", "device"]
    title: str
    status: Literal["ok", "warning", "error"]
    message: str = Field(description="What was found; for an error also what to do next.")
    file: str | None = None
    line: int | None = None
    column: int | None = None


class PreflightReport(Model):
    checks: list[Check]
    problems: list[RowProblem] = Field(description="Rows that are invalid, truncated or unsupervised.")


class RowScore(RowRef):
    risk: Unit | None
    judge: str
    refusal: bool


class ScoreReport(Model):
    path: str
    judge: str
    threshold: float
    rows: list[RowScore]
    invalid: list[RowProblem]
