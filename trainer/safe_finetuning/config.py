"""What a run configuration (`*.finetune.json`) may say: a file that the user owns.

`schema.py` exports it for the editor's completion and errors; `config_file.py` reads such a file.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from pydantic.alias_generators import to_camel


class Model(BaseModel):
    """Base of everything on the wire: camelCase there, unknown fields are an error, NaN stays a number."""

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


class DatasetConfig(ConfigModel):
    """The rows to train on."""

    path: str = Field(
        min_length=1,
        description="The dataset, relative to this configuration file: a file (JSON Lines, JSON, CSV, TSV or "
        "Parquet), a folder of such files, or a pattern such as `data/*.csv`. A row is a conversation "
        "(`messages`, ShareGPT, Alpaca, or a prompt with its answer). Of a folder or a pattern, quarantines "
        "are left out.",
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


class EndpointConfig(ConfigModel):
    """An OpenAI-compatible server that judges rows. They leave the machine."""

    url: str = Field(
        pattern=r"^https?://[^/\\\s@?#]+(/[^\\\s@]*)?$",
        description="Its address as clients are given it, such as http://localhost:8000/v1.",
    )
    model: str = Field(min_length=1, description="The model that judges, as the server calls it.")
    concurrency: Annotated[int, Field(ge=1, le=64)] = Field(4, description="Requests at a time.")
    timeout_seconds: Annotated[float, Field(gt=0)] = Field(60, description="How long an answer may take.")
    retries: Annotated[int, Field(ge=0, le=20)] = Field(
        5,
        description="How often a request that timed out or failed for the time being is made again, each "
        "time after a longer wait.",
    )

    @property
    def origin(self) -> str:
        """Scheme, host and port, spelled as browsers do: what the user agrees to, and a key belongs to."""
        parts = urlsplit(self.url)
        host = (parts.hostname or "").encode("idna").decode()
        usual = {"http": 80, "https": 443}[parts.scheme]
        port = f":{parts.port}" if parts.port not in (None, usual) else ""
        return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}{port}"

    @field_validator("url")
    @classmethod
    def _has_an_origin(cls, url: str) -> str:
        try:
            host = urlsplit(url).hostname or ""
            urlsplit(url).port  # noqa: B018  # raises where it is none
            host.encode("idna")
        except ValueError as error:
            raise ValueError(f"not an address: {error}") from None
        if not host:
            raise ValueError("has no host")
        return url


class RiskConfig(ConfigModel):
    """Where the risk s in [0, 1] of each row comes from."""

    source: Literal["critic", "probe"] = Field(
        "critic",
        description="`critic`: a safety critic judges each training pair (prompt and answer). `probe`: an "
        "activation-based predictor judges each prompt by the reference's hidden states. Once, before "
        "training.",
    )
    judge: Literal["classifier", "guard", "endpoint"] = Field(
        "classifier",
        description="The judge behind the critic. `classifier`: the bundled classifier, offline; "
        "the risk is its calibrated probability of harm. `guard`: the guard model that `guard` names. "
        "`endpoint`: a server, by a rubric from 1 to 5; rows leave the machine.",
    )
    guard: str | None = Field(
        None,
        min_length=1,
        description="A guard model of the families Llama Guard, Granite Guardian, ShieldGemma or "
        "Qwen3Guard: a folder relative to this file, or a name from the Hugging Face hub or cache.",
    )
    endpoint: EndpointConfig | None = Field(
        None,
        description="The server of the judge `endpoint`. Its key is read from the environment variable "
        "SAFE_FINETUNING_ENDPOINT_KEY.",
    )
    probe: str | None = Field(
        None,
        min_length=1,
        description="The probe of the source `probe`, relative to this file; "
        "`python -m safe_finetuning probe` trains it.",
    )

    @model_validator(mode="after")
    def _what_is_asked_for_is_named(self) -> RiskConfig:
        if self.source == "probe" and not self.probe:
            raise ValueError('needs `probe`, the path of a trained probe, where `source` is "probe"')
        if self.judge == "guard" and not self.guard:
            raise ValueError('needs `guard`, the name of a guard model, where `judge` is "guard"')
        if self.judge == "endpoint" and not self.endpoint:
            raise ValueError('needs `endpoint`, with `url` and `model`, where `judge` is "endpoint"')
        return self

    @property
    def server(self) -> EndpointConfig | None:
        """The server that rows are sent to, if one judges them."""
        return self.endpoint if self.source == "critic" and self.judge == "endpoint" else None

    features: Literal["reference", "policy"] = Field(
        "reference",
        description="Whose hidden states the probe reads. `reference`: the safe reference's, once before "
        "training. `policy`: those of the model that is trained, in each step's own forward pass: free, but "
        "what they mean drifts with training; how far, the end of the run says.",
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


class AnswerTokens(ConfigModel):
    """At which tokens of an answer a term acts."""

    positions: Literal["all", "first"] = Field(
        "all", description="At which answer tokens: all of them, or the `firstTokens` of each answer."
    )
    first_tokens: Annotated[int, Field(ge=1)] = Field(
        8, description="How many answer tokens `positions: first` means."
    )


class RegularisationConfig(AnswerTokens):
    """How the risk becomes the strength of the pull towards the safe reference (Goel et al. 2026)."""

    granularity: Literal["sample", "batch"] = Field(
        "sample",
        description="`sample`: each row is regularised by its own risk. `batch`: every row of an optimiser "
        "step by the step's mean risk, as in the paper.",
    )
    mapping: Literal["linear", "clamped"] = Field(
        "linear",
        description="From risk s to β. `linear`: βmin + (βmax − βmin)·s, as in the paper. `clamped`: "
        "(4s − 1)/3 between βmin and βmax, as in the paper's released code.",
    )
    beta_min: Unit = Field(0.0, description="β of a row without risk.")
    beta_max: Unit = Field(1.0, description="β of a row of risk 1.")
    form: Literal["convex", "additive"] = Field(
        "convex",
        description="`convex`: (1−β)·nll + β·KL, as in the paper. `additive`: nll + weight·β·KL.",
    )
    weight: Annotated[float, Field(ge=0)] = Field(
        5.0,
        description="λ: what KL weighs in the additive form, and in the method `kl` (default there: 0.3).",
    )
    moving_average: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0,
        description="Share of the earlier steps in the risk that granularity `batch` goes by: "
        "s ← movingAverage·s + (1 − movingAverage)·mean risk. 0: the step's own mean.",
    )
    reference: Literal["cached", "exact"] = Field(
        "cached",
        description="What the safe reference says about a row: `exact`, computed in every step that needs "
        "it, or `cached`, computed once and kept: its 512 likeliest tokens and the rest as one, which "
        "underestimates KL a little.",
    )

    @field_validator("beta_max")
    @classmethod
    def _not_below_beta_min(cls, value: float, info: ValidationInfo) -> float:
        least = info.data.get("beta_min", 0.0)
        if value < least:
            raise ValueError(f"must not be below `betaMin` ({least})")
        return value


class AnchorConfig(ConfigModel):
    """Anchor rows, on which the model is held to the reference: harmful prompts with its refusals, harmless
    look-alikes with its answers."""

    per_step: Annotated[int, Field(ge=1)] | None = Field(
        None,
        description="Anchor rows in each optimiser step. Default: one for every eight rows of "
        "`training.batchSize`.",
    )
    weight: Annotated[float, Field(ge=0)] = Field(
        1.0,
        description="What the mean KL over the tokens of a step's anchor rows weighs beside the mean loss "
        "over those of its dataset rows.",
    )
    prompts: str | None = Field(
        None,
        min_length=1,
        description="JSON Lines with a harmful `prompt` each, relative to this file, in addition to those "
        "that ship with the trainer. The reference answers them once; only its refusals are used.",
    )


class SafetyTokenConfig(AnswerTokens):
    """Safety token regularisation (Bach and Tran 2026): the logits of refusal tokens stay as they were."""

    weight: Annotated[float, Field(ge=0)] = Field(
        0.1, description="λ: what the squared distance of the safety tokens' logits weighs."
    )
    space: Literal["logit", "centered", "logprob"] = Field(
        "logprob",
        description="What is compared: raw logits, logits less their mean over the vocabulary, or "
        "log-probabilities.",
    )
    tokens: list[str] | None = Field(
        None,
        min_length=1,
        description="The safety tokens, each the text of one token of the model. Default: chosen from "
        "refusals by what the reference says; the run lists them with their numbers.",
    )


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
    batch_size: Annotated[int, Field(ge=1)] = Field(
        8, description="Rows per optimiser step, over all processes."
    )
    micro_batch_size: Annotated[int, Field(ge=1)] | None = Field(
        None,
        description="Rows per forward pass; must divide `batchSize`. Smaller values need less memory and "
        "give the same result. Default: `batchSize`, divided among the processes.",
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
    report_to: list[Literal["tensorboard", "trackio", "wandb"]] = Field(
        default_factory=list,
        description="Trackers that are given the figures of every step besides; their packages are installed "
        "by hand. `tensorboard` writes into the run's folder and `trackio` on this machine; `wandb` sends "
        "them to its server, unless WANDB_MODE is `offline`.",
    )


class CheckpointConfig(ConfigModel):
    """When the run can be resumed from."""

    every_minutes: Annotated[float, Field(gt=0)] = Field(10, description="Minutes between checkpoints.")
    at_least: Annotated[int, Field(ge=1)] = Field(
        5, description="Checkpoints per run, however short it is; 10 or more where a budget rolls back."
    )
    keep: Annotated[int, Field(ge=1)] = Field(
        2,
        description="How many of the newest are kept; one within budget besides, where a budget rolls back.",
    )


BudgetAction = Literal["warn", "raise-beta", "roll-back", "stop"]
_ACTIONS = (
    "`warn`; `raise-beta` moves β's lower end half of the way to its upper end, each time, so that ordinary "
    "rows are held, too (`adaptive`, `recommended`); `roll-back` goes back to the last checkpoint within "
    "budget and on from there with β raised like that; `stop` saves and stops."
)


class CanaryConfig(ConfigModel):
    """How much likelier refusing is than complying, asked while the model trains (docs/methods.md)."""

    every_steps: Annotated[int, Field(ge=1)] = Field(
        10, description="Steps between askings; fewer in a run of under 100 steps, which is asked ten times."
    )
    max_drop: Annotated[float, Field(gt=0)] | None = Field(
        None,
        description="The safety budget: how far the margin may fall below the reference's, in nats. Where it "
        "falls further, `onExceeded` happens. Default: no budget.",
    )
    on_exceeded: BudgetAction = Field(
        "warn", description=f"What happens when `maxDrop` is exceeded: {_ACTIONS}"
    )


class EvaluationConfig(ConfigModel):
    """The measurement before and after training, and during it, on prompts that are never trained on."""

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
    at_checkpoints: bool = Field(
        False,
        description="Measure at every checkpoint as well, each time as much as before and after training; "
        "training waits meanwhile.",
    )
    max_attack_success: Annotated[float, Field(ge=0, lt=1)] | None = Field(
        None,
        description="The safety budget of the measurements at checkpoints (`atCheckpoints`): the share of "
        "harmful prompts that may be answered. Where it is more, `onExceeded` happens. Default: no budget.",
    )
    on_exceeded: BudgetAction = Field(
        "warn", description=f"What happens when `maxAttackSuccess` is exceeded: {_ACTIONS}"
    )


Method = Literal[
    "recommended", "adaptive", "safety-tokens", "standard", "kl", "constrained", "mix-safety", "filter"
]

_PUBLISHED = {"betaMin": 0.1, "betaMax": 0.9}
DEFAULTS: dict[str, dict[str, dict[str, Any]]] = {
    "paper": {
        "risk": {"floor": 0.0},
        "regularisation": {**_PUBLISHED, "mapping": "linear", "granularity": "batch"},
    },
    "released-code": {
        "risk": {"floor": 0.0},
        "regularisation": {**_PUBLISHED, "mapping": "clamped", "granularity": "sample"},
    },
    "kl": {"regularisation": {"weight": 0.3}},
    "recommended": {"anchors": {}},
    "mix-safety": {"anchors": {}},
    "safety-tokens": {"safetyTokens": {}},
}
"""What a method or preset says where the configuration does not: by section and setting."""


class RunConfig(ConfigModel):
    """A fine-tuning run: which model, which data, which method."""

    schema_: str | None = Field(None, alias="$schema", description="Ignored; for other editors.")
    model: str = Field(
        min_length=1,
        description="The safe reference that is fine-tuned: a folder relative to this file, a name from "
        "the Hugging Face hub or cache, or `example` for the small model that the example uses.",
    )
    dataset: DatasetConfig = Field(description="The rows to train on.")
    method: Method = Field(
        "recommended",
        description="`recommended`: `adaptive` with anchors. `adaptive`: risky rows are held near the safe "
        "reference, others train as usual. `safety-tokens`: the logits of refusal tokens are held near the "
        "reference's. `standard`: plain fine-tuning. Baselines: `kl` holds every row near the reference, "
        "`constrained` the first tokens of every answer, `mix-safety` mixes in refusals, `filter` leaves "
        "risky rows out.",
    )
    preset: Literal["paper", "released-code"] | None = Field(
        None,
        description="Defaults of the method `adaptive`: `paper` as published (one β per step, 0.1 to 0.9), "
        "`released-code` as its authors' code does it (one β per forward pass, which there has one "
        "row). Settings given here go before them.",
    )
    risk: RiskConfig = Field(default_factory=RiskConfig, description="How rows are judged.")
    regularisation: RegularisationConfig = Field(
        default_factory=RegularisationConfig, description="How risk becomes regularisation (`adaptive`)."
    )
    anchors: AnchorConfig | None = Field(
        None, description="Anchor rows, with any method. Without this section only `recommended` has them."
    )
    safety_tokens: SafetyTokenConfig | None = Field(
        None,
        description="Safety token regularisation, with any method. Without this section only "
        "`safety-tokens` has it.",
    )
    lora: LoraConfig | None = Field(
        default_factory=LoraConfig,
        description="The adapter that is trained. `null`: all weights are trained, and the reference is "
        "asked about everything beforehand.",
    )
    quantisation: Literal["none", "4bit"] = Field(
        "none",
        description="Precision of the base model: `4bit` keeps its linear layers as NF4 (QLoRA), which takes "
        "a quarter of the memory. Meant for CUDA.",
    )
    training: TrainingConfig = Field(default_factory=TrainingConfig, description="Optimisation.")
    checkpoints: CheckpointConfig = Field(
        default_factory=CheckpointConfig, description="When the run can be resumed from."
    )
    canary: CanaryConfig | None = Field(
        default_factory=CanaryConfig,
        description="What watches the model's refusals while it trains; `null` for nothing.",
    )
    evaluation: EvaluationConfig = Field(
        default_factory=EvaluationConfig, description="Measurement before and after."
    )
    processes: Annotated[int, Field(ge=1)] = Field(
        1,
        description="Processes that train together, one for each GPU of this machine; the batch is divided "
        "among them.",
    )
    accelerate_config: str | None = Field(
        None,
        min_length=1,
        description="A configuration file of Accelerate (`accelerate config`), relative to this file: the "
        "run is started by `accelerate launch` with it, for FSDP or several machines.",
    )
    device: Literal["auto", "cuda", "mps", "cpu"] = Field(
        "auto", description="Where to train; `auto` takes CUDA, then MPS, then the CPU."
    )

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_method_and_preset(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        names = [data.get("method", cls.model_fields["method"].default), data.get("preset")]
        filled = dict(data)
        for section, defaults in (x for name in names for x in DEFAULTS.get(str(name), {}).items()):
            given = filled.get(section, {})
            filled[section] = {**defaults, **given} if isinstance(given, dict) else given
        return filled

    @field_validator("preset")
    @classmethod
    def _of_adaptive(cls, value: str | None, info: ValidationInfo) -> str | None:
        method = info.data.get("method")
        if value and method != "adaptive":
            raise ValueError(f"goes with the method `adaptive`, not `{method}`")
        return value

    @field_validator("anchors", "safety_tokens")
    @classmethod
    def _part_of_the_method(cls, value: Any, info: ValidationInfo) -> Any:
        method = info.data.get("method")
        if value is None and to_camel(info.field_name or "") in DEFAULTS.get(str(method), {}):
            raise ValueError(f"is a part of the method `{method}` and cannot be null")
        return value

    @model_validator(mode="after")
    def _what_the_policy_can_tell(self) -> Self:
        if self.risk.features == "policy":
            if self.risk.source != "probe":
                raise ValueError('`risk.features`: `policy` goes with `risk.source: "probe"`')
            if self.regularisation.granularity == "batch":
                raise ValueError(
                    "`risk.features`: `policy` knows a row's risk only when it is trained on; set "
                    "`regularisation.granularity` to `sample`"
                )
        return self

    @model_validator(mode="after")
    def _what_the_budgets_can_do(self) -> Self:
        evaluation = self.evaluation
        if evaluation.max_attack_success is not None and not evaluation.at_checkpoints:
            raise ValueError(
                "`evaluation.maxAttackSuccess` is the budget of measurements at checkpoints; set "
                "`evaluation.atCheckpoints` to true"
            )
        if self.canary:
            self._check_action("canary", self.canary.on_exceeded, "maxDrop", self.canary.max_drop)
        self._check_action(
            "evaluation", evaluation.on_exceeded, "maxAttackSuccess", evaluation.max_attack_success
        )
        return self

    def _check_action(self, section: str, action: BudgetAction, limit: str, value: float | None) -> None:
        """Whether β can be raised, where that is what is to happen."""
        if action not in ("raise-beta", "roll-back"):
            return
        where, beta = f"`{section}.onExceeded`: `{action}`", self.regularisation
        if self.method not in ("adaptive", "recommended"):
            raise ValueError(
                f"{where} goes with a method that has a β to raise, not `{self.method}`; set it to `stop` or "
                "`warn`, or train with the method `recommended`"
            )
        if value is None:
            raise ValueError(f"{where} needs a budget; set `{section}.{limit}`")
        if beta.beta_min == beta.beta_max:
            raise ValueError(
                f"{where} has nothing to raise: `regularisation.betaMin` is `regularisation.betaMax`; lower "
                "the one or set this to `stop`"
            )
        if self.lora is None and beta.beta_min == 0:
            raise ValueError(
                f"{where} cannot raise β from 0 without an adapter, since the reference is asked about risky "
                "rows only; set `regularisation.betaMin` above 0, or this to `stop`"
            )

    @property
    def rolls_back(self) -> bool:
        """Whether the run may go back to an earlier checkpoint."""
        actions = [self.evaluation.on_exceeded, *([self.canary.on_exceeded] if self.canary else [])]
        return "roll-back" in actions

    @property
    def checkpoints_at_least(self) -> int:
        """Without many checkpoints a roll-back would lose many steps: as many as the canary's askings."""
        return max(self.checkpoints.at_least, 10) if self.rolls_back else self.checkpoints.at_least

    @model_validator(mode="after")
    def _what_needs_an_adapter(self) -> Self:
        if self.lora is None and self.regularisation.reference == "exact":
            raise ValueError("`regularisation.reference`: `exact` needs an adapter; `lora` must not be null")
        if self.lora is None and self.quantisation != "none":
            raise ValueError("`quantisation` needs an adapter; `lora` must not be null")
        return self

    @property
    def anchors_per_step(self) -> int:
        """Anchor rows in each optimiser step."""
        if not self.anchors or self.anchors.weight == 0:
            return 0
        return self.anchors.per_step or math.ceil(self.training.batch_size / 8)
