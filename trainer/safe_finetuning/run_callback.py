"""What a run does between its steps: it saves in time, and hears commands."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from transformers import TrainerCallback

if TYPE_CHECKING:
    from .trainer import SafeTrainer


class RunCallback(TrainerCallback):
    """Saves in time; pauses, stops and changes settings when asked to; the first process decides for all."""

    def __init__(self, trainer: SafeTrainer) -> None:
        self.trainer, self.config = trainer, trainer.config
        self.run, self.processes = trainer.run, trainer.processes
        self.last_saved = time.monotonic()
        self.random_state = random_state()

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        self.trainer.watch.begin()
        if self.config.rolls_back and state.global_step == 0:
            self.trainer.save_now()  # what every budget can be kept by going back to
        return control

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        self.processes.from_first(self.run.check)
        for command in self.processes.from_first(self.run.new_settings):
            self.trainer.apply(command)
        return control

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        self.random_state = random_state()  # not that at the next one's beginning: an epoch may lie between
        every = max(1, state.max_steps // (self.config.checkpoints_at_least + 1))
        minutes = (time.monotonic() - self.last_saved) / 60
        save, measure, stop = self.processes.from_first(
            lambda: (
                minutes >= self.config.checkpoints.every_minutes or self.run.checkpoint_requested,
                self.run.evaluation_requested,
                self.run.stop_requested,
            )
        )
        if state.global_step % every == 0 or save or stop:
            self.run.checkpoint_requested = False
            control.should_save = True
        if measure:
            self.run.evaluation_requested = False
            self.trainer.watch.asked_to_measure = True
        control.should_training_stop |= stop
        return control

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.last_saved = time.monotonic()  # after measuring, which may take longer than the interval

    def on_substep_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        if self.processes.count == 1 and self.run.stop_requested:  # several stop at the end of a step
            control.should_training_stop = True
            set_random_state(self.random_state)  # the step is not finished, and begins anew when resumed
        return control


RandomState = tuple[Any, Any, Tensor, list[Tensor]]


def random_state() -> RandomState:
    """That of everything which is saved with a checkpoint."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return random.getstate(), np.random.get_state(), torch.get_rng_state(), cuda


def set_random_state(state: RandomState) -> None:
    python, numpy, cpu, cuda = state
    random.setstate(python)
    np.random.set_state(numpy)
    torch.set_rng_state(cpu)
    if cuda:
        torch.cuda.set_rng_state_all(cuda)
