"""Fine-tuning that keeps a chat model close to its safe reference where the data is risky."""

__version__ = "0.1.0"
