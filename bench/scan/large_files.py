"""Writes rows.jsonl and rows.parquet of about the given sizes in bytes: FOLDER JSONL_BYTES PARQUET_BYTES.

A thousand different conversations of ordinary words, again and again: reading is measured, not judging.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

DIFFERENT, WORDS, ROW_GROUP_ROWS = 1000, 150, 20_000
ORDINARY_TEXT = (
    "the parcel comes on monday with a green box of tea and two cups for your sister in the small house near "
    "river where rain falls all summer while children read books about trains, boats and old maps of cities"
)


def main() -> None:
    folder, jsonl_bytes, parquet_bytes = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    draw = random.Random(1)
    words = ORDINARY_TEXT.split()

    def text() -> str:
        return " ".join(draw.choices(words, k=WORDS))

    rows = [{"prompt": text(), "completion": text()} for _ in range(DIFFERENT)]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    with (folder / "rows.jsonl").open("w") as out:
        for _ in range(jsonl_bytes // len(lines)):
            out.write(lines)
    # Every row with a number, so that no dictionary of values makes the file small.
    with pq.ParquetWriter(
        folder / "rows.parquet",
        pa.schema([("id", pa.int64()), ("prompt", pa.string()), ("completion", pa.string())]),
        compression="none",
        use_dictionary=False,
    ) as writer:
        row_bytes = len(lines) / DIFFERENT
        for first in range(0, int(parquet_bytes / row_bytes), ROW_GROUP_ROWS):
            numbers = range(first, first + ROW_GROUP_ROWS)
            chosen = [rows[n % DIFFERENT] for n in numbers]
            columns = {name: [row[name] for row in chosen] for name in ("prompt", "completion")}
            writer.write_table(pa.table({"id": list(numbers)} | columns))


if __name__ == "__main__":
    main()
