"""The activation-based risk predictor (Goel et al. 2026): how harmful a prompt is to the model's mind.

The reference's hidden states at the last prompt token, before it says anything, standardised, through a
logistic regression. Kinds: one `layer`, chosen by cross-validation on the training data; all layers
`pooled`, the paper's option; and `released-code`, the plain mean over tokens and layers through a small
network with a hard verdict, as in the paper's released code.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..errors import UserError
from ..rows import Pair
from ..tokens import before_answer

Kind = Literal["layer", "pooled", "released-code"]
TRAIN_A_PROBE = "Train one with `python -m safe_finetuning probe CONFIGURATION`."
BATCH_PROMPTS = 16
FOLDS = 5
LEAST_PROMPTS = 2 * FOLDS  # harmful and harmless ones each
INVERSE_PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1)  # of the logistic regression, tried by cross-validation
HIDDEN_UNITS, EPOCHS, BATCH_STATES = 512, 100, 32  # of the network of kind `released-code`
HELD_OUT_SHARE = 0.2  # of its prompts, by which its best epoch is chosen


@dataclass(frozen=True)
class Probe:
    """A trained predictor.

    `tensors` are `mean` and `scale` (layers, H) of the hidden states (0 and 1 for `released-code`, which does
    not standardise), and of the classifier `weight` and `bias`, or for `released-code` those of two layers.
    `fingerprint` names the model it was trained on.
    `ordinary_flagged` is the share of ordinary prompts that it takes for harmful; None where it is not known.
    """

    kind: Kind
    layers: tuple[int, ...]
    fingerprint: str
    tensors: dict[str, Tensor]
    trained_on: str = ""
    ordinary_flagged: float | None = None

    @property
    def judge_id(self) -> str:
        """Names what risks are exactly: probe and model."""
        digest = hashlib.sha256(f"{self.kind} {self.layers} {self.fingerprint}".encode())
        for name in sorted(self.tensors):
            digest.update(self.tensors[name].numpy().tobytes())
        return f"probe-{digest.hexdigest()[:12]}"

    @property
    def over_tokens(self) -> bool:
        return self.kind == "released-code"

    def risk(self, states: Tensor) -> Tensor:
        """Risks (n,) in [0, 1] of hidden states (n, layers of the model, H)."""
        return self.risk_of_layers(states[:, list(self.layers)])

    def risk_of_layers(self, states: Tensor) -> Tensor:
        """The same of the probe's own layers only, (n, layers, H)."""
        x = _standardised(states, self.tensors["mean"], self.tensors["scale"])
        if self.kind == "released-code":
            hidden = torch.relu(x @ self.tensors["hidden_weight"].T + self.tensors["hidden_bias"])
            return (hidden @ self.tensors["weight"] + self.tensors["bias"] > 0).double()  # 5 or 1 of 1 to 5
        return torch.sigmoid(x @ self.tensors["weight"] + self.tensors["bias"])


def _standardised(states: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """(n, layers, H) → (n, H): each layer standardised, then the mean over them."""
    return ((states.double() - mean) / scale).mean(1)


# --- hidden states ------------------------------------------------------------------------------------


def prompt_states(
    model: Any,
    tokenizer: Any,
    conversations: Sequence[list[dict[str, str]]],
    *,
    over_tokens: bool = False,
    check: Callable[[], None] = lambda: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Tensor:
    """Hidden states (n, layers, H), fp32 on the CPU, of each conversation up to where the answer begins.

    At the last token, or with `over_tokens` the mean over all of them. `model` is the reference.
    """
    texts = [before_answer(messages, tokenizer) for messages in conversations]
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    found: list[Tensor] = [torch.empty(0)] * len(texts)
    model.eval()
    for start in range(0, len(order), BATCH_PROMPTS):
        check()
        chosen = order[start : start + BATCH_PROMPTS]
        batch = tokenizer(
            [texts[i] for i in chosen],
            return_tensors="pt",
            padding=True,
            padding_side="left",
            add_special_tokens=False,
        ).to(model.device)
        with torch.inference_mode():
            states = states_of(model, batch["input_ids"], batch["attention_mask"], over_tokens).float().cpu()
        for i, state in zip(chosen, states, strict=True):
            found[i] = state
        progress(min(start + BATCH_PROMPTS, len(order)), len(order))
    return torch.stack(found)


def states_of(
    model: Any, input_ids: Tensor, mask: Tensor, over_tokens: bool, layers: Sequence[int] | None = None
) -> Tensor:
    """Hidden states (n, layers, H) of token ids that are padded on the left; of all layers by default."""
    output = model(
        input_ids=input_ids,
        attention_mask=mask,
        position_ids=(mask.cumsum(1) - 1).clamp(min=0),
        output_hidden_states=True,
        logits_to_keep=1,
        use_cache=False,
    )
    weights = (mask / mask.sum(1, keepdim=True))[:, :, None]
    read = output.hidden_states if layers is None else [output.hidden_states[layer] for layer in layers]
    return torch.stack([(h * weights).sum(1) if over_tokens else h[:, -1] for h in read], 1)


class Predictor:
    """A probe with its model as a judge of prompts: what the answer says does not matter to it."""

    def __init__(
        self, probe: Probe, model: Any, tokenizer: Any, check: Callable[[], None] = lambda: None
    ) -> None:
        self.probe, self.model, self.tokenizer, self.check = probe, model, tokenizer, check
        template = tokenizer.get_chat_template()
        read = json.dumps([tokenizer_json(tokenizer), template, tokenizer.special_tokens_map])
        self.judge_id = f"{probe.judge_id}-{hashlib.sha256(read.encode()).hexdigest()[:12]}"

    def score(
        self, pairs: Sequence[Pair], *, progress: Callable[[int, int], None] | None = None
    ) -> list[float]:
        # A plain text has no prompt, so nothing can be read of one: the row stays unscored.
        contexts = list(dict.fromkeys(pair.context for pair in pairs if pair.context))
        if not contexts:
            return [math.nan] * len(pairs)
        conversations = [[{"role": m.role, "content": m.content} for m in context] for context in contexts]
        risks = dict(zip(contexts, self.risks(conversations, progress), strict=True))
        return [risks.get(pair.context, math.nan) for pair in pairs]

    def risks(
        self,
        conversations: Sequence[list[dict[str, str]]],
        progress: Callable[[int, int], None] | None = None,
    ) -> list[float]:
        """Of each, up to where the answer begins."""
        states = prompt_states(
            self.model,
            self.tokenizer,
            conversations,
            over_tokens=self.probe.over_tokens,
            check=self.check,
            progress=progress or (lambda done, total: None),
        )
        return self.probe.risk(states).tolist()


def tokenizer_json(tokenizer: Any) -> str | None:
    """The tokenizer as `tokenizers` keeps it, without what a call sets; None where it is of another kind."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return None
    settings = json.loads(backend.to_str()) | {"truncation": None, "padding": None}
    return json.dumps(settings, ensure_ascii=False)


# --- training -----------------------------------------------------------------------------------------


def train_probe(states: Tensor, harmful: Sequence[bool], kind: Kind, fingerprint: str) -> Probe:
    """Fits a probe to hidden states (n, layers, H) of labelled prompts (`over_tokens` as its kind has it).

    Raises:
        UserError: too few prompts of one kind for cross-validation.
    """
    labels = [int(x) for x in harmful]
    if min(sum(labels), len(labels) - sum(labels)) < LEAST_PROMPTS:
        raise UserError(
            f"A probe needs {LEAST_PROMPTS} harmful and {LEAST_PROMPTS} harmless prompts or more; there are "
            f"{sum(labels)} and {len(labels) - sum(labels)}. Add some to the labelled file."
        )
    return _fitted(states, labels, kind, fingerprint)


def _fitted(states: Tensor, labels: list[int], kind: Kind, fingerprint: str) -> Probe:
    from sklearn.linear_model import LogisticRegression

    everything = tuple(range(states.shape[1]))
    if kind == "released-code":
        return _train_network(states, labels, everything, fingerprint)
    candidates = [everything] if kind == "pooled" else [(layer,) for layer in everything[1:]]
    _, layers, penalty = min(
        (_cross_validated(states, labels, layers, penalty), layers, penalty)
        for layers in candidates
        for penalty in INVERSE_PENALTIES
    )
    mean, scale = _statistics(states[:, list(layers)])
    x = _standardised(states[:, list(layers)], mean, scale)
    fitted = LogisticRegression(C=penalty, max_iter=2000).fit(x.numpy(), labels)
    tensors = {
        "mean": mean,
        "scale": scale,
        "weight": torch.tensor(fitted.coef_[0]),
        "bias": torch.tensor(fitted.intercept_[0]),
    }
    return Probe(kind, layers, fingerprint, tensors)


def _statistics(states: Tensor) -> tuple[Tensor, Tensor]:
    return states.double().mean(0), states.double().std(0) + 1e-6


def _cross_validated(states: Tensor, labels: list[int], layers: tuple[int, ...], penalty: float) -> float:
    """Mean log loss on held-out folds: lower is better, and unlike AUROC it also asks for calibration."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss
    from sklearn.model_selection import StratifiedKFold

    x = _standardised(states[:, list(layers)], *_statistics(states[:, list(layers)])).numpy()
    losses = []
    for fit, held in StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(x, labels):
        fitted = LogisticRegression(C=penalty, max_iter=2000).fit(x[fit], [labels[i] for i in fit])
        losses.append(log_loss([labels[i] for i in held], fitted.predict_proba(x[held])[:, 1], labels=[0, 1]))
    return math.fsum(losses) / len(losses)


def _train_network(states: Tensor, labels: list[int], layers: tuple[int, ...], fingerprint: str) -> Probe:
    """As the released code: the plain mean over the layers, two outputs of which the larger is the verdict,
    and the epoch that is right about the most held-out prompts."""
    x, y = states.double().mean(1), torch.tensor(labels)
    draw = torch.Generator().manual_seed(0)
    shuffled, n_held = torch.randperm(len(x), generator=draw), round(HELD_OUT_SHARE * len(x))
    held, fit = shuffled[:n_held], shuffled[n_held:]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        first, last = torch.nn.Linear(x.shape[1], HIDDEN_UNITS), torch.nn.Linear(HIDDEN_UNITS, 2)
    network = torch.nn.Sequential(first, torch.nn.ReLU(), last).double()
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3)
    best, weights = -1, {}
    for _ in range(EPOCHS):
        for batch in fit[torch.randperm(len(fit), generator=draw)].split(BATCH_STATES):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(network(x[batch]), y[batch]).backward()
            optimiser.step()
        with torch.no_grad():
            right = int((network(x[held]).argmax(1) == y[held]).sum())
        if right > best:
            best, weights = right, {name: w.clone() for name, w in network.state_dict().items()}
    tensors = {
        "mean": torch.zeros(len(layers), x.shape[1], dtype=torch.float64),
        "scale": torch.ones(len(layers), x.shape[1], dtype=torch.float64),
        "hidden_weight": weights["0.weight"],
        "hidden_bias": weights["0.bias"],
        "weight": weights["2.weight"][1] - weights["2.weight"][0],
        "bias": weights["2.bias"][1] - weights["2.bias"][0],
    }
    return Probe("released-code", layers, fingerprint, tensors)


def out_of_fold(states: Tensor, harmful: Sequence[bool], kind: Kind) -> Tensor:
    """Risks (n,) of the training prompts by probes that have not seen them, neither to be fitted nor to
    choose their layer."""
    from sklearn.model_selection import StratifiedKFold

    labels = [int(x) for x in harmful]
    risks = torch.zeros(len(labels), dtype=torch.float64)
    for fit, held in StratifiedKFold(FOLDS, shuffle=True, random_state=1).split(states[:, 0], labels):
        fold = _fitted(states[fit], [labels[i] for i in fit], kind, "")
        risks[held] = fold.risk(states[held])
    return risks


# --- files --------------------------------------------------------------------------------------------


def save_probe(probe: Probe, path: Path) -> None:
    """Writes beside and renames."""
    about = {"kind": probe.kind, "layers": json.dumps(probe.layers), "fingerprint": probe.fingerprint}
    about["trainedOn"] = probe.trained_on
    about["ordinaryFlagged"] = json.dumps(probe.ordinary_flagged)
    beside = path.with_name(f".{path.name}.tmp")
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in probe.tensors.items()}, beside, metadata=about)
    beside.replace(path)


def load_probe(path: Path, fingerprint: str) -> Probe:
    """The probe at `path`, for the model that `fingerprint` names.

    Raises:
        UserError: there is none, it is damaged, or it was made for another model.
    """
    try:
        with safe_open(path, "pt") as file:
            about = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        layers = tuple(json.loads(about["layers"]))
        card = (about.get("trainedOn", ""), json.loads(about.get("ordinaryFlagged", "null")))
        probe = Probe(about["kind"], layers, about["fingerprint"], tensors, *card)  # type: ignore[arg-type]
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such probe. {TRAIN_A_PROBE}") from None
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise UserError(f"{path}: is not a probe, or damaged ({error}). {TRAIN_A_PROBE}") from None
    if probe.fingerprint != fingerprint:
        raise UserError(
            f"{path}: was trained on another model: its layers mean something else here. {TRAIN_A_PROBE}"
        )
    return probe
