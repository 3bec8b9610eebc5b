"""How busy the GPU is, asked so rarely that training pays nothing for it."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

SECONDS_BETWEEN = 1.0


class GpuLoad:
    """The driver's figure (NVML), which nothing on the GPU is waited for.

    None without CUDA, and from the first time that it cannot be read: without nvidia-ml-py, which an
    environment of the user's own may lack, or of a device that does not tell.
    """

    def __init__(
        self,
        device: torch.device,
        read: Callable[[torch.device], int] = torch.cuda.utilization,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.device = device
        self.read = read
        self.clock = clock
        self.can_be_read = device.type == "cuda"
        self.read_at = -SECONDS_BETWEEN
        self.share: float | None = None

    def latest(self) -> float | None:
        """Share of the time before it was read, at most a second ago, in which the GPU was at work."""
        now = self.clock()
        if self.can_be_read and now - self.read_at >= SECONDS_BETWEEN:
            self.read_at = now
            try:
                self.share = self.read(self.device) / 100
            except Exception:  # NVML's library has errors of its own
                self.can_be_read, self.share = False, None
        return self.share
