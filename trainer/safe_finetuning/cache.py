"""Where the trainer keeps what can be made again."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def cache_folder() -> Path:
    """The user's cache folder for this project; $SAFE_FINETUNING_CACHE moves it."""
    fallback = platformdirs.user_cache_dir("safe-finetuning", appauthor=False)
    return Path(os.environ.get("SAFE_FINETUNING_CACHE") or fallback)
