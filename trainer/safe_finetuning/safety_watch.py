"""Watches how safe the model is while it trains: the canary, measurements, and budgets for both.

A budget is exceeded by what the canary says or by what is measured after a step. What then happens is the
same for both: the user is warned, β is raised, the run is stopped, or it is rolled back: it goes back to the
newest checkpoint within budget and on from there with a higher β.
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from . import checkpoints
from . import protocol as p
from .canary import Canary, mean_margin, steps_between
from .config import BudgetAction
from .errors import GivenUp, UserError
from .files import write_atomically

if TYPE_CHECKING:
    from .trainer import SafeTrainer

ROLL_BACKS = 4
"""So often a run is rolled back at most: β's lower end is 15/16 of the way to the upper one then."""

ROLL_BACK_FILE = "rollback.json"


class Measure(Protocol):
    """Measures a model and keeps its answers under a name, as before and after training."""

    def __call__(self, model: Any, name: str, *, check: Any, progress: Any) -> p.EvaluationMetrics: ...


class RollBack(NamedTuple):
    """The last one of a run: part of its state, which checkpoints from before it cannot know."""

    step: int
    """That the run went back to."""
    times: int
    """How often the run has been rolled back."""
    beta_min: float
    beta_max: float


def last_roll_back(run: Path) -> RollBack | None:
    try:
        return RollBack(**json.loads((run / ROLL_BACK_FILE).read_text("utf-8")))
    except FileNotFoundError:
        return None


class WayBack(NamedTuple):
    checkpoint: Path | None
    """To go back to; None where there is none within budget."""
    goes_on: bool
    """Whether to train on from there."""


@dataclass
class Budget:
    """How far a number that is to stay small may rise, and what happens beyond."""

    name: Literal["canary", "attack-success"]
    limit: float | None
    action: BudgetAction
    acted_at: float = -math.inf  # the value at which something was last done since it was kept
    kept_at: int = 0  # the last step after which it was seen to be kept

    def begin(self) -> None:
        self.acted_at, self.kept_at = -math.inf, 0

    def allows(self, value: float) -> bool:
        """A value that is no number exceeds any budget."""
        return self.limit is None or value <= self.limit

    def describe(self, value: float) -> str:
        if self.name == "canary":
            return (
                f"The canary has fallen {value:.1f} nats below the reference, further than the "
                f"{self.limit:g} of `canary.maxDrop`."
            )
        return (
            f"Attack success is {100 * value:.1f} %, above the {100 * (self.limit or 0):g} % of "
            "`evaluation.maxAttackSuccess`."
        )


class SafetyWatch:
    """Asks the canary and measures in time, and keeps the budgets.

    Of several processes all call its methods, unless one says otherwise; the first asks and tells the
    others.
    """

    def __init__(self, trainer: SafeTrainer, canary: Canary | None, measure: Measure | None) -> None:
        config = trainer.config
        self.trainer, self.run, self.processes = trainer, trainer.run, trainer.processes
        self.measure, self.at_checkpoints = measure, config.evaluation.at_checkpoints
        self.canary, self.every_steps, fall = canary, 1, Budget("canary", None, "warn")
        self.reference = mean_margin(canary.reference) if canary else math.nan
        if canary and config.canary:
            self.every_steps = config.canary.every_steps
            fall = Budget("canary", config.canary.max_drop, config.canary.on_exceeded)
        evaluation = config.evaluation
        success = Budget("attack-success", evaluation.max_attack_success, evaluation.on_exceeded)
        self.fall, self.success = fall, success
        self.asked_to_measure = False
        self.exceeded: tuple[Budget, int, float] | None = None
        """The budget for which the run is to be rolled back, with the step and the value."""

    def begin(self) -> None:
        """Of each training; tells what the canary says of the reference."""
        self.fall.begin()
        self.success.begin()
        if self.canary:
            self.run.emit(p.CanaryReady, reference=self.reference, prompts=len(self.canary.reference))

    def margin_after(self, step: int) -> float | None:
        """What the canary says now, if its turn has come."""
        trainer, total = self.trainer, self.trainer.state.max_steps
        due = step % steps_between(self.every_steps, total) == 0 or step == total
        saves = trainer.config.rolls_back and trainer.control.should_save
        if not self.canary or not (due or saves):
            return None
        sharded = trainer.is_fsdp_enabled  # all processes have to gather the weights
        margin = math.nan
        if sharded or self.processes.first:
            margin = mean_margin(self.canary.margins(trainer.model_wrapped if sharded else trainer.model))
        return self.processes.from_first(lambda: margin)

    def after_step(self, step: int, margin: float | None) -> None:
        """Measures if that is due or was asked for, and acts where a budget is exceeded."""
        if margin is not None:
            self._keep(self.fall, step, self.reference - margin)
        asked, self.asked_to_measure = self.asked_to_measure, False
        last = step == self.trainer.state.max_steps and self.success.limit is not None
        due = self.at_checkpoints and (self.trainer.control.should_save or last)
        if self.measure and (asked or due) and not self.exceeded:
            metrics = self._measure_after(step, self.measure)
            if metrics:
                self._keep(self.success, step, metrics.attack_success.value)

    def was_within_budget(self, step: int) -> bool:
        """Whether every budget for which the run is rolled back was seen to be kept after this step."""
        budgets = [x for x in (self.fall, self.success) if x.limit is not None and x.action == "roll-back"]
        return self.trainer.config.rolls_back and all(x.kept_at == step for x in budgets)

    # --- measuring

    def _measure_after(self, step: int, measure: Measure) -> p.EvaluationMetrics | None:
        """None where it failed or was given up. Training goes on as if it had not been measured: nothing is
        drawn at random, and nothing is learned."""
        sharded = self.trainer.is_fsdp_enabled  # all processes have to gather the weights, token by token

        def told_to_stop() -> bool:
            self.run.check()
            return self.run.stop_requested

        def check() -> None:
            if self.processes.from_first(told_to_stop) if sharded else told_to_stop():
                raise GivenUp

        def measured() -> p.EvaluationMetrics | None:
            model = self.trainer.model_wrapped if sharded else self.trainer.model
            progress = self.run.progress("evaluating", "prompts")
            began = time.monotonic()
            try:
                metrics = measure(model, f"step-{step}", check=check, progress=progress)
            except GivenUp:
                return None
            except UserError as error:
                self.run.warn("evaluation", f"The model could not be measured after step {step}: {error}")
                return None
            self.run.emit(p.Measured, step=step, metrics=metrics, seconds=time.monotonic() - began)
            return metrics

        self.processes.from_first(lambda: self.run.phase("evaluating", f"Measuring the model of step {step}"))
        metrics = measured() if sharded else self.processes.from_first(measured)
        if self.processes.from_first(lambda: self.run.stop_requested):
            self.trainer.control.should_save = self.trainer.control.should_training_stop = True
        self.processes.from_first(lambda: self.run.phase("training", f"Going on from step {step}"))
        return metrics

    # --- the budgets

    def _keep(self, budget: Budget, step: int, value: float) -> None:
        """Acts when the budget is exceeded, and again when it is exceeded by more, or anew."""
        beyond = math.inf if math.isnan(value) else value
        if budget.allows(value):
            budget.acted_at, budget.kept_at = -math.inf, step
        elif beyond > budget.acted_at:
            budget.acted_at = beyond
            self._act(budget, step, value)

    def _act(self, budget: Budget, step: int, value: float) -> None:
        trainer, done = self.trainer, "The run goes on as it was."
        if budget.action == "roll-back":  # `go_back` says what is done
            trainer.control.should_save, trainer.control.should_training_stop = False, True
            self.exceeded = budget, step, value
            return
        if budget.action == "stop":
            self.run.stop_requested = True
            trainer.control.should_save = trainer.control.should_training_stop = True
            done = "The run is saved and stopped."
        elif budget.action == "raise-beta":
            low, raised = trainer.objective.settings.beta_min, self._raised_beta()
            trainer.set_beta_range(raised, None, "budget")
            done = f"The lower end of β is raised from {low:.2f} to {raised:.2f}."
        self._tell(budget, step, value, budget.action, done)

    def _raised_beta(self) -> float:
        """Half way from β's lower end to its upper one."""
        settings = self.trainer.objective.settings
        return (settings.beta_min + settings.beta_max) / 2

    def go_back(self) -> WayBack:
        """Makes the newest checkpoint within budget the one that the run goes on from, in the first process.

        Whenever the process is killed here the run can be resumed: later checkpoints go first, and without
        what is kept of the roll-back the same steps are trained and rolled back again.
        """
        assert self.exceeded
        budget, step, value = self.exceeded
        folder = self.trainer.checkpoint_folder
        whole = (x for x in checkpoints.within_budget(folder) if checkpoints.is_whole(x[0]))
        checkpoint, back_to = next(whole, (None, step))
        if not checkpoint:
            self.run.stop_requested = True
            done = "There is no checkpoint within budget to go back to: the run is saved and stopped."
            self._tell(budget, step, value, "stop", done)
            return WayBack(None, goes_on=False)
        before = last_roll_back(self.run.folder)
        times = before.times if before else 0
        goes_on = times < ROLL_BACKS and not self.run.stop_requested
        checkpoints.remove_after(folder, back_to)
        settings = self.trainer.objective.settings
        back = RollBack(back_to, times + 1, self._raised_beta(), settings.beta_max)
        if goes_on:
            write_atomically(self.run.folder / ROLL_BACK_FILE, json.dumps(back._asdict()) + "\n")
        self.run.begin_again(back_to)
        to = f"The run has gone back to step {back_to}"
        if goes_on:
            done = f"{to} and goes on with β from {back.beta_min:.2f} to {back.beta_max:.2f}."
            self.run.emit(
                p.SettingsChanged,
                step=back_to,
                beta_min=back.beta_min,
                beta_max=back.beta_max,
                by="budget",
            )
        elif self.run.stop_requested:
            done = f"{to}, since it is to stop, and ends there."
        else:
            done = (
                f"{to} and ends there: it has been rolled back {times} times, and β is "
                f"{settings.beta_min:.2f} at least. Leave risky rows out, or lower `training.learningRate`."
            )
            self.run.stop_requested = True
        self._tell(budget, step, value, "roll-back" if goes_on else "stop", done, back_to)
        if goes_on:
            self.run.phase("training", f"Going on from step {back_to}")
        return WayBack(checkpoint, goes_on)

    def _tell(
        self,
        budget: Budget,
        step: int,
        value: float,
        action: BudgetAction,
        done: str,
        back_to: int | None = None,
    ) -> None:
        self.run.emit(
            p.BudgetExceeded,
            step=step,
            budget=budget.name,
            value=value,
            limit=budget.limit,
            action=action,
            back_to=back_to,
            message=f"{budget.describe(value)} {done}",
        )
