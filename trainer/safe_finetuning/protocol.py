"""Every message and file that crosses the boundary between the extension and the trainer.

This module and `config.py` (the run configuration) are the one source of truth for the wire: the run record
(`run.json`), events (`events.jsonl`), commands (`commands.jsonl`), the answers of the command line's
`preflight`, `preview` and `score`, and what is said to and by `chat`. `schema.py` exports these models as
JSON Schemas, from which the extension's TypeScript types and validators are generated.

A run folder is read for as long as it is kept. What is added to an event, to `run.json` or to `launch.json`
therefore has a default, which readers take where an earlier version has left it out.

Units: times in seconds unless a name says otherwise, timestamps in milliseconds since the Unix epoch,
memory in bytes, losses in nats per supervised token.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from .config import BudgetAction, Model, RunConfig, Unit

PROTOCOL_VERSION = 1


# --- rows, named without their text -------------------------------------------------------------------


class RowRef(Model):
    """A dataset row: found by hash, the line is a hint."""

    file: int = Field(description="Index into the run record's `datasets`.")
    line: int = Field(description="1-based line in the file where it begins; in Parquet, its number.")
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
    tokens: list[int] = Field(
        [], description="The row's supervised tokens: what its means weigh in the loss."
    )


# --- events.jsonl: what the trainer says --------------------------------------------------------------

Phase = Literal[
    "loading",
    "scoring",
    "evaluating-before",
    "anchors",
    "training",
    "evaluating",
    "saving",
    "evaluating-after",
]
RunStatus = Literal["running", "completed", "stopped", "cancelled", "failed"]


class Event(Model):
    """What every event carries."""

    v: Literal[1] = PROTOCOL_VERSION  # type: ignore[assignment]
    seq: int = Field(ge=0, description="Counts up by one over all attempts of the run.")
    ts: float = Field(description="Milliseconds since the Unix epoch.")


class AttemptStarted(Event):
    """A process begins work on the run, or rolls it back; later steps of earlier attempts no longer count."""

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
    trained: int | None = Field(description="Null where a script decides what it trains on.")
    held_out: int
    flagged: int = Field(description="Rows with risk at or above the threshold.")
    refusals: int = Field(description="Rows whose answer is a refusal: safety data, risk 0.")
    reviewed: int = Field(
        0, description="Rows that a person has reviewed: they train as ordinary ones, risk 0."
    )
    unscored: int = Field(description="Rows the judge failed on; they count as risk 1.")
    filtered: int = Field(description="Rows left out by the method `filter`.")
    invalid: list[RowProblem] = Field(description="Rows that could not be read and were skipped.")
    truncated: list[RowProblem]
    unsupervised: list[RowProblem] = Field(description="Rows without a single trained token: left out.")
    total_steps: int


class Batch(Event):
    """One optimiser step. A script's own has a loss, no rows, and risk and β where it logs them."""

    type: Literal["batch"] = "batch"
    step: int = Field(ge=1)
    total_steps: int
    epoch: float
    nll: float | None = Field(description="Mean over supervised tokens, unweighted.")
    kl: float | None = Field(description="Σ β·KL over supervised tokens ÷ N; null when no row had β > 0.")
    anchors: float | None = Field(
        None,
        description="What anchor rows add to the loss: weight · mean KL over their tokens (`mix-safety`: "
        "of nll); null without anchor rows.",
    )
    safety_tokens: float | None = Field(
        None, description="λ · mean squared distance of the safety tokens; null without that term."
    )
    total: float | None = Field(description="The loss that was minimised.")
    risk_mean: float | None
    risk_max: float | None
    beta_mean: float | None
    beta_max: float | None
    learning_rate: float | None
    grad_norm: float | None
    tokens: int | None = Field(description="Supervised tokens N of this step.")
    tokens_per_second: float | None = Field(description="All non-padding tokens per second of this step.")
    step_seconds: float
    memory_bytes: int = Field(description="CUDA: peak allocated; otherwise resident set of the process.")
    gpu_load: float | None = Field(
        None,
        description="Share of the time, from 0 to 1, in which the first process's GPU was at work, as its "
        "driver said at most a second before; null without CUDA, and where that cannot be read: without "
        "nvidia-ml-py, say.",
    )
    eta_seconds: float | None = Field(description="Estimated time to the last step, without evaluation.")
    canary: float | None = Field(
        None,
        description="How much likelier refusing is than complying after this step, in nats, mean over "
        "held-out harmful prompts; null where it was not asked.",
    )
    not_finite: list[str] = Field(
        [], description="Which of these numbers are null because they were NaN or infinite, by their names."
    )
    rows: RowColumns

    @model_validator(mode="after")
    def _name_what_is_not_finite(self) -> Self:
        self.not_finite = self.not_finite or [
            field.alias or name
            for name, field in type(self).model_fields.items()
            if isinstance(value := getattr(self, name), float) and not math.isfinite(value)
        ]
        return self


class CheckpointSaved(Event):
    type: Literal["checkpoint"] = "checkpoint"
    step: int
    path: str = Field(description="Relative to the run folder; absolute where a script keeps it elsewhere.")
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


class Measured(Event):
    """What the model is like after a step, measured as before and after training; training has waited."""

    type: Literal["measurement"] = "measurement"
    step: int
    metrics: EvaluationMetrics
    seconds: float


class CanaryReady(Event):
    """Before the first step of an attempt: what the canary says of the reference."""

    type: Literal["canary"] = "canary"
    reference: float | None = Field(description="The margin of `batch.canary`, of the reference.")
    prompts: int = Field(description="Held-out harmful prompts that it is the mean of.")


class BudgetExceeded(Event):
    """A safety budget has been exceeded; what was done."""

    type: Literal["budget"] = "budget"
    step: int = Field(description="After which it was exceeded.")
    budget: Literal["canary", "attack-success"]
    value: float | None = Field(
        description="How far the canary is below the reference's margin, in nats; or attack success."
    )
    limit: float = Field(description="`canary.maxDrop`, or `evaluation.maxAttackSuccess`.")
    action: BudgetAction = Field(description="What was done.")
    back_to: int | None = Field(
        None, description="The step that the run has gone back to; steps after it no longer count."
    )
    message: str


class SettingsChanged(Event):
    """Changed while the run goes on; holds for the steps after `step`."""

    type: Literal["settings"] = "settings"
    step: int
    beta_min: float | None = None
    beta_max: float | None = None
    learning_rate: float | None = Field(None, description="The new peak, from which the schedule goes on.")
    by: Literal["command", "budget"]


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
    | Measured
    | CanaryReady
    | BudgetExceeded
    | SettingsChanged
    | CommandAcknowledged
    | ActivityChanged
    | Warned
    | Heartbeat
    | Finished,
    Field(discriminator="type"),
]


# --- commands.jsonl: what the trainer is told ---------------------------------------------------------


class Command(Model):
    """One line of commands.jsonl.

    `stop` saves a checkpoint and the adapter; `cancel` saves nothing; `checkpoint` saves and goes on;
    `evaluate` measures the model as it is and goes on; `set` changes what is given beside it from the next
    step on.
    """

    id: str = Field(min_length=1)
    ts: float = Field(description="Milliseconds since the Unix epoch.")
    command: Literal["pause", "resume", "stop", "cancel", "checkpoint", "evaluate", "set"]
    beta_min: Unit | None = Field(None, description="`set`: the lower end of β.")
    beta_max: Unit | None = Field(None, description="`set`: the upper end of β.")
    learning_rate: Annotated[float, Field(gt=0)] | None = Field(
        None, description="`set`: the peak learning rate, from which the schedule goes on."
    )


# --- run.json and launch.json -------------------------------------------------------------------------


class DatasetRecord(Model):
    path: str = Field(description="Absolute path when the run began.")
    sha256: str
    rows: int
    names: str | None = Field(None, description="What dataset_info.json says of its columns, as JSON.")
    reviewed: list[str] = Field([], description="Hashes in its list of reviewed rows, sorted.")


class ProcessRecord(Model):
    pid: int
    start_time: float = Field(description="Process start, seconds since the Unix epoch, as the OS tells it.")
    host: str


class ScriptRecord(Model):
    """A training script of the user's, which tells of itself by `SafetyMonitorCallback`."""

    name: str = Field(description="As the script calls the run; otherwise its file's name.")
    path: str | None = Field(description="Absolute; null in a notebook.")
    model: str


class RunRecord(Model):
    """run.json: what the run is and how it stands. Written beside and renamed.

    It is either of a configuration or of a script.
    """

    v: Literal[1] = PROTOCOL_VERSION  # type: ignore[assignment]
    id: str
    config_path: str | None
    config: RunConfig | None
    script: ScriptRecord | None = None
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
    id: Literal["configuration", "packages", "model", "dataset", "rows", "disk", "device", "trackers"]
    title: str
    status: Literal["ok", "warning", "error"]
    message: str = Field(description="What was found; for an error also what to do next.")
    file: str | None = None
    line: int | None = None
    column: int | None = None


class PreflightReport(Model):
    checks: list[Check]
    problems: list[RowProblem] = Field(description="Rows that are invalid, truncated or unsupervised.")
    endpoint: str | None = Field(
        None, description="Origin of the server that a run would send rows to, to have them judged."
    )
    judged_rows: int = Field(0, description="Rows that a judge is asked about: all but the reviewed ones.")


class RowScore(RowRef):
    risk: Unit | None
    message: int | None = Field(
        description="Number, from 1, of the message that the risk is about; null where the row was reviewed."
    )
    judge: str
    refusal: bool
    reviewed: bool = Field(description="A person has reviewed it: it trains as an ordinary row, risk 0.")


class JudgingProbe(Model):
    trained_on: str = Field(description="In words; empty where the probe does not say.")
    ordinary_flagged: Unit | None = Field(
        description="Share of ordinary prompts that it flags at 0.5, by its card; null where it does not say."
    )
    folder: str | None = Field(description="Where it lies as ONNX for the editor, if it could be exported.")
    not_exported: str | None = Field(description="Why it could not.")


class ScoreReport(Model):
    files: list[str] = Field(description="Those of the dataset; rows name them by index.")
    judge: str
    threshold: float
    rows: list[RowScore]
    invalid: list[RowProblem]
    probe: JudgingProbe | None = Field(description="The judge, where it is a probe that was to be exported.")


class RowSimilarity(RowRef):
    similarity: float | None = Field(
        description="To answers that comply with harmful requests, less that to their refusals; null where "
        "no answer begins within the tokens that are trained on."
    )


class AnchoringReport(Model):
    files: list[str] = Field(description="Those of the dataset; rows name them by index.")
    rows: list[RowSimilarity]
    closest: int = Field(description="So many of the closest rows are worth reading.")
    invalid: list[RowProblem]


class TokenPiece(Model):
    """Text of one token; of several where only together they are whole characters."""

    text: str
    tokens: int = Field(ge=1)
    trained: bool


class RowTokens(RowRef):
    """A row as the model gets it: what `pieces` say is the rendered text, up to where it is cut."""

    pieces: list[TokenPiece]
    tokens: int = Field(description="Of the whole row, before it is cut.")
    trained: int = Field(description="Tokens that are trained.")
    truncated: bool
    problem: str | None = Field(description="Why the row is not trained on.")


class TokenStatistics(Model):
    rows: int = Field(description="Of the dataset.")
    looked_at: int = Field(description="Rows that the figures rest on; of a large dataset a sample.")
    median: int = Field(description="Length of a row in tokens, before it is cut.")
    p95: int
    longest: int
    truncated: Unit = Field(description="Share of the rows that are cut at `training.maxLength`.")
    untrained: Unit = Field(description="Share of the rows without a trained token; they are left out.")
    trained_tokens: int = Field(description="In the whole run.")
    steps: int


class MemoryParts(Model):
    """What the memory goes to, computed, in bytes."""

    weights: int = Field(description="Of the model, in the precision that they are kept in.")
    trained: int = Field(description="Weights that are trained beside it, and the gradients.")
    optimiser: int = Field(description="Adam's two moments.")
    activations: int = Field(description="Of the largest forward pass, an approximation.")
    libraries: int = Field(description="Python and what it loads, where that is in the same memory.")


class Cost(Model):
    """What a run will take, without judging rows, the reference's answers, and measuring before and after."""

    seconds: float = Field(description="Of all training steps.")
    memory_bytes: int
    parts: MemoryParts
    device: str
    measured: bool = Field(description="Steps were timed; otherwise all of it is computed.")
    basis: str = Field(description="What it rests on, in a sentence or two.")


class PreviewReport(Model):
    """Of a configuration before its run. The one answer that quotes rows: for the editor's page alone."""

    checks: list[Check]
    rows: list[RowTokens]
    statistics: TokenStatistics | None = None
    cost: Cost | None = None


# --- chat: requests on its standard input, replies on its output, one JSON object a line ---------------

ChatModel = Literal["reference", "tuned"]


class ChatTurn(Model):
    role: Literal["system", "user", "assistant"]
    content: str


class ChatConversations(Model):
    """What each of the two models has been told and has answered so far; a user's turn comes last."""

    reference: list[ChatTurn]
    tuned: list[ChatTurn]


class ChatAsk(Model):
    """Both models are to answer. Requests are answered one after the other."""

    type: Literal["ask"] = "ask"
    id: str = Field(min_length=1)
    conversations: ChatConversations
    max_new_tokens: int = Field(256, ge=1, le=4096)
    temperature: float = Field(0, ge=0, le=2, description="0: greedy, as the evaluation measures.")


class ChatCancel(Model):
    """Ends a request before its next token; one that has ended is left as it is."""

    type: Literal["cancel"] = "cancel"
    id: str = Field(min_length=1)


class ChatLoading(Model):
    """Before the first answer. Without `total`, the end is not known."""

    type: Literal["loading"] = "loading"
    message: str
    done: int | None = None
    total: int | None = None
    unit: str | None = None


class ChatReady(Model):
    """Both models are loaded."""

    type: Literal["ready"] = "ready"
    device: str


class ChatPiece(Model):
    """What has been added to an answer: whole characters, never a part of one."""

    type: Literal["piece"] = "piece"
    id: str
    model: ChatModel
    text: str


class ChatDone(Model):
    """An answer is complete, or was ended. Every request gets two of these, or a `ChatFailed`."""

    type: Literal["done"] = "done"
    id: str
    model: ChatModel
    text: str = Field(description="The whole answer. It counts where the pieces differ from it.")
    ended: Literal["complete", "length", "cancelled"] = Field(
        description="`length`: after as many tokens as were asked for, or as the model can read."
    )
    tokens: int
    seconds: float = Field(description="That this model took, without the time of the other one.")
    refusal: bool
    degenerate: bool = Field(description="The answer is not coherent text.")


class ChatFailed(Model):
    """A request cannot be answered; the process goes on."""

    type: Literal["failed"] = "failed"
    id: str | None = Field(description="Null where the line is no request.")
    message: str
