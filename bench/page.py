"""The pages that results are written to."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any


def update_json(path: Path, section: str, value: Any) -> None:
    everything = json.loads(path.read_text("utf-8")) if path.exists() else {}
    everything[section] = value
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(everything, indent=1, ensure_ascii=False) + "\n", "utf-8")


def update_section(path: Path, section: str, text: str) -> None:
    """Replaces what stands between the section's markers, or adds it at the end."""
    begin, end = f"<!-- {section}: generated -->", f"<!-- /{section} -->"
    block = f"{begin}\n{text}\n{end}"
    page = (
        path.read_text("utf-8")
        if path.exists()
        else "# Results\n\nEvery table here is written by the command it names.\n"
    )
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    page = pattern.sub(lambda _: block, page) if pattern.search(page) else f"{page.rstrip()}\n\n{block}\n"
    path.write_text(page, "utf-8")


def goals_table(goals: list[tuple[str, str, bool]]) -> list[str]:
    """Of (goal, what was measured, whether it holds)."""
    lines = ["| goal | measured | holds |", "|---|---|---|"]
    return lines + [f"| {goal} | {value} | {'yes' if holds else '**no**'} |" for goal, value, holds in goals]
