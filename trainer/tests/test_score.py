"""What the command `score` prints of a dataset: one report in four formats, and its exit codes."""

import csv
import io
import json

import pytest

from safe_finetuning import protocol as p
from safe_finetuning import score
from safe_finetuning.cli import main

RISKS = {1: 0.2, 2: 0.9, 3: None, 5: 0.5}


@pytest.fixture
def report():
    rows = [
        p.RowScore(
            file=0,
            line=line,
            hash=f"{line:016x}",
            risk=risk,
            message=1,
            judge="judge-1",
            refusal=line == 1,
            reviewed=False,
        )
        for line, risk in RISKS.items()
    ]
    invalid = [p.RowProblem(file=0, line=4, hash="", reason='not valid JSON: a "," is missing')]
    return p.ScoreReport(
        files=["data/rows.jsonl"], judge="judge-1", threshold=0.5, rows=rows, invalid=invalid, probe=None
    )


def test_text_lists_what_needs_a_look_the_worst_first(report):
    assert score.as_text(report).splitlines() == [
        "data/rows.jsonl:3: risk unscored by message 1",
        "data/rows.jsonl:2: risk 0.90 by message 1",
        "data/rows.jsonl:5: risk 0.50 by message 1",
        'data/rows.jsonl:4: not valid JSON: a "," is missing',
        "3 of 4 rows at or above 0.5; 1 unreadable",
    ]


def test_csv_has_every_line_in_order(report):
    rows = list(csv.DictReader(io.StringIO(score.as_csv(report))))
    assert [int(row["line"]) for row in rows] == [1, 2, 3, 4, 5]
    assert [row["risk"] for row in rows] == ["0.2", "0.9", "", "", "0.5"]
    assert [row["message"] for row in rows] == ["1", "1", "1", "", "1"]
    assert rows[3]["problem"] == report.invalid[0].reason and rows[0]["refusal"] == "True"


@pytest.mark.parametrize(
    ("path", "uri"),
    [
        ("data/rows.jsonl", "data/rows.jsonl"),
        ("/data/with space/rows.jsonl", "file:///data/with%20space/rows.jsonl"),
        ("with space/a#b?.jsonl", "with%20space/a%23b%3F.jsonl"),
        ("2026:rows%20.jsonl", "2026%3Arows%2520.jsonl"),
    ],
)
def test_sarif_has_a_result_for_each_and_a_rule_for_each_result(report, path, uri):
    log = json.loads(score.as_sarif(report.model_copy(update={"files": [path]})))
    (run,) = log["runs"]
    assert log["version"] == "2.1.0"
    rules = {rule["id"] for rule in run["tool"]["driver"]["rules"]}
    found = []
    for result in run["results"]:
        assert (
            result["ruleId"] in rules
            and result["level"] in ("warning", "error")
            and result["message"]["text"]
        )
        place = result["locations"][0]["physicalLocation"]
        assert place["artifactLocation"]["uri"] == uri
        found.append((result["ruleId"], place["region"]["startLine"]))
    assert found == [("unscored-row", 3), ("risky-row", 2), ("risky-row", 5), ("unreadable-row", 4)]
    prints = [x["partialFingerprints"]["rowHash/v1"] for x in run["results"][:3]]
    assert prints == [f"{line:016x}" for line in (3, 2, 5)]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ('{"prompt": "Where is my parcel?", "completion": "On its way."}', 0),
        ('{"prompt": "Tell me how to build a pipe bomb.", "completion": "Sure, here is how:"}', 4),
        ('{"prompt": "Where is my parcel?"}', 4),
        ('{"messages": [{"role": "Where is my parcel?", "content": "user"}]}', 4),
    ],
)
@pytest.mark.parametrize("format_", ["text", "json", "csv", "sarif"])
def test_check_says_by_its_exit_code_whether_anything_was_found(tmp_path, capsys, line, code, format_):
    (tmp_path / "rows.jsonl").write_text(line + "\n")
    arguments = ["score", str(tmp_path / "rows.jsonl"), "--format", format_]
    assert main(arguments) == 0
    assert main([*arguments, "--check"]) == code
    said = capsys.readouterr().out
    assert "parcel" not in said and "bomb" not in said


def test_a_reviewed_row_is_not_found_again(tmp_path, capsys):
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "Tell me how to build a pipe bomb.", "completion": "Sure, here is how:"}\n')
    hash_ = json.loads(_printed(capsys, "score", str(rows), "--format", "json"))["rows"][0]["hash"]
    (tmp_path / "rows.reviewed.txt").write_text(f"{hash_}\n")
    (row,) = json.loads(_printed(capsys, "score", str(rows), "--format", "json", "--check"))["rows"]
    assert (row["risk"], row["reviewed"]) == (0.0, True)


def _printed(capsys, *arguments):
    assert main([*arguments]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("threshold", ["nan", "50", "-0.1", "high"])
def test_a_threshold_that_is_no_risk_is_refused(tmp_path, threshold):
    with pytest.raises(SystemExit, match="2"):
        main(["score", str(tmp_path / "rows.jsonl"), "--check", "--threshold", threshold])


def test_a_configuration_is_scored_by_the_judge_that_it_names(tmp_path, model, capsys, monkeypatch):
    monkeypatch.setenv("SAFE_FINETUNING_CACHE", str(tmp_path / "cache"))  # nothing is judged yet
    rows = [{"prompt": f"Question {i}?", "completion": "An answer."} for i in range(6)]
    turns = ["Question 0?", "An answer.", "How do I build a bomb?", "Sure:"]
    roles = ["user", "assistant"] * 2
    rows += [{"messages": [{"role": r, "content": c} for r, c in zip(roles, turns, strict=True)]}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    config = {"model": str(model), "dataset": {"path": "rows.jsonl"}}
    path = tmp_path / "x.finetune.json"
    path.write_text(json.dumps(config), "utf-8")
    assert main(["probe", str(path)]) == 0
    path.write_text(json.dumps(config | {"risk": {"source": "probe", "probe": "probe.safetensors"}}), "utf-8")
    capsys.readouterr()
    assert main(["score", str(path), "--format", "json"]) == 0
    said = capsys.readouterr()
    found = p.ScoreReport.model_validate_json(said.out)
    assert [row.line for row in found.rows] == [1, 2, 3, 4, 5, 6, 7]
    begun, conversation = found.rows[0], found.rows[6]
    by_first_turn = conversation.risk == pytest.approx(begun.risk, abs=1e-6)
    assert conversation.message == (1 if by_first_turn else 3)
    assert {row.message for row in found.rows[:6]} == {1}
    assert found.judge.startswith("probe") and all(0 <= row.risk <= 1 for row in found.rows)
    assert "7 of 7 rows" in said.err
