"""Fine-tuning that keeps a chat model close to its safe reference where the data is risky."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .callback import SafetyMonitorCallback

__all__ = ["SafetyMonitorCallback"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Only who asks for the callback waits for transformers to load."""
    if name == "SafetyMonitorCallback":
        from .callback import SafetyMonitorCallback

        return SafetyMonitorCallback
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
