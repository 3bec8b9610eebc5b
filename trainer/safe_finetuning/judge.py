"""The judge that a configuration names, ready to be asked: for a run, and for the command `score`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from . import protocol as p
from .config import RunConfig
from .errors import UserError
from .risk.scores import Critic, Judge

if TYPE_CHECKING:  # PyTorch takes seconds to import, and the classifier needs none
    from .model import Loaded
    from .risk.probe import Probe


class Work(Protocol):
    """Who is told of long work, and may end it."""

    def phase(self, phase: p.Phase, message: str) -> None: ...

    def progress(self, phase: p.Phase, unit: str) -> Any:
        """A callback `(done, total)`."""

    def check(self) -> None:
        """Raises Cancelled when the work is to end."""


def load_reference(config: RunConfig, base: Path, work: Work | None = None) -> Loaded:
    """The model before fine-tuning. Raises UserError."""
    from .model import load_model, resolve_device

    return load_model(
        config.model,
        device=resolve_device(config.device),
        base_folder=base,
        quantisation=config.quantisation,
        check=work.check if work else None,
        progress=(lambda stage: work.phase("loading", stage)) if work else None,
        downloaded=work.progress("loading", "MB") if work else None,
        fp32=config.lora is None,
    )


def configured_judge(config: RunConfig, base: Path, reference: Callable[[], Loaded], work: Work) -> Judge:
    """`reference` is asked for only by a judge that reads the model itself. Raises UserError."""
    risk = config.risk
    if risk.source == "probe":
        from .risk.probe import Predictor

        loaded = reference()
        probe = read_probe(config, base, loaded)
        return Predictor(probe, loaded.model, loaded.tokenizer, work.check)
    if risk.server:
        from .risk.endpoint import Endpoint

        return Endpoint(risk.server, work.check)
    if risk.judge == "guard" and risk.guard:
        from .model import load_model, resolve_device
        from .risk.guards import Guard, family_of

        family_of(risk.guard)  # said before it is downloaded
        work.phase("loading", f"Loading {risk.guard}")
        guard = load_model(
            risk.guard,
            device=resolve_device(config.device),
            base_folder=base,
            check=work.check,
            downloaded=work.progress("loading", "MB"),
        )
        return Guard(risk.guard, guard, work.check)
    return Critic()


def read_probe(config: RunConfig, base: Path, loaded: Loaded) -> Probe:
    """Raises UserError where it is another model's, or cannot do what the configuration asks for."""
    from .risk.probe import load_probe

    path = base / (config.risk.probe or "")
    probe = load_probe(path, loaded.fingerprint)
    if probe.over_tokens and config.risk.features == "policy":
        raise UserError(
            f"{path}: a probe of the kind `released-code` reads all tokens of a prompt, which "
            '`risk.features: "policy"` does not. Train one of the kind `layer` or `pooled`.'
        )
    return probe
