"""The pages that results are written to. `python bench/page.py NAME`: of what a benchmark has measured."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TITLES = {
    "host": "What the extension host pays",
    "scan": "How fast datasets are read and judged",
    "monitor": "Long runs, fast runs, many runs",
}


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


def bench_page(name: str, processor: str, results: list[dict[str, Any]]) -> str:
    """Of figures as scripts/bench.mjs writes them."""
    lines = [
        f"## {TITLES[name]}",
        "",
        f"`npm run bench -- {name}`, on {processor}",
        "",
        "| | measured | goal | holds |",
        "|---|---|---|---|",
    ]
    for figure in results:
        value = figure["value"]
        shown = f"{value:,.0f}" if float(value).is_integer() or value >= 1000 else f"{value:.3g}"
        holds = {True: "yes", False: "**no**", None: ""}[figure["holds"]]
        lines.append(f"| {figure['name']} | {shown} {figure['unit']} | {figure['goal'] or ''} | {holds} |")
    return "\n".join(lines)


def main() -> None:
    [name] = sys.argv[1:]
    measured = json.loads((ROOT / "bench" / "results" / f"{name}.json").read_text("utf-8"))
    update_section(ROOT / "docs" / "results.md", f"bench-{name}", bench_page(name, **measured))


if __name__ == "__main__":
    main()
