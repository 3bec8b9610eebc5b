"""Run configurations: comments, defaults, and errors that name the field, the line and the way out."""

import pytest

from safe_finetuning.config_file import locate, read_config
from safe_finetuning.errors import LocatedError, UserError

GOOD = """\
// which model
{
  "model": "example", /* the small one */
  "dataset": { "path": "support.jsonl" },
  "method": "adaptive",
  "training": { "epochs": 3, },
}
"""


def read(tmp_path, text):
    path = tmp_path / "x.finetune.json"
    path.write_bytes(text.encode())
    return read_config(path)


def test_comments_trailing_commas_and_defaults(tmp_path):
    config = read(tmp_path, "\ufeff" + GOOD)
    assert (config.model, config.dataset.path, config.training.epochs) == ("example", "support.jsonl", 3)
    assert config.risk.floor == 0.1


def test_methods_and_presets_have_defaults_that_settings_go_before(tmp_path):
    paper = read(tmp_path, GOOD.replace('"adaptive"', '"adaptive", "preset": "paper"'))
    assert paper.risk.floor == 0 and paper.regularisation.granularity == "batch"
    assert (paper.regularisation.beta_min, paper.regularisation.beta_max) == (0.1, 0.9)
    changed = GOOD.replace('"adaptive"', '"adaptive", "preset": "paper", "regularisation": {"betaMax": 0.5}')
    assert read(tmp_path, changed).regularisation.beta_max == 0.5
    recommended = read(tmp_path, GOOD.replace('"method": "adaptive",', ""))
    assert recommended.method == "recommended" and recommended.anchors_per_step == 1
    assert read(tmp_path, GOOD).anchors_per_step == 0
    again = type(paper).model_validate_json(paper.model_dump_json(by_alias=True))
    assert again == paper  # as run.json keeps it


@pytest.mark.parametrize(
    ("old", "new", "place", "message"),
    [
        ('"adaptive"', '"adaptve"', (5, 3), 'not "adaptve". Did you mean "adaptive"?'),
        ('"epochs": 3', '"epoch": 3', (6, 17), "`training.epoch` is not a setting. Did you mean `epochs`?"),
        ('"epochs": 3', '"epochs": "many"', (6, 17), "`training.epochs`: input should be a valid number"),
        ('"epochs": 3', '"epochs": "3"', (6, 17), "`training.epochs`: input should be a valid number"),
        ('"epochs": 3', '"epochs": Infinity', (6, 17), "`training.epochs`: input should be a finite number"),
        (
            '"epochs": 3',
            '"batchSize": true',
            (6, 17),
            "`training.batchSize`: input should be a valid integer",
        ),
        (
            '"epochs": 3',
            '"batchSize": 4, "microBatchSize": 3',
            (6, 33),
            "`training.microBatchSize` must divide `batchSize` (4); it is 3.",
        ),
        (
            '"method": "adaptive"',
            '"regularisation": { "betaMin": 1, "betaMax": 0 }',
            (5, 37),
            "`regularisation.betaMax` must not be below `betaMin` (1.0); it is 0.",
        ),
        ('"path": "support.jsonl"', '"path": "x", "heldOutPath": ""', (4, 29), "at least 1 character"),
        ('"model": "example", ', "", (2, 1), "`model` is missing"),
        (
            '"adaptive"',
            '"kl", "preset": "paper"',
            (5, 19),
            "`preset` goes with the method `adaptive`, not `kl`",
        ),
        (
            '"adaptive"',
            '"adaptive", "anchors": {"perStep": 0}',
            (5, 37),
            "`anchors.perStep`: input should be",
        ),
        ('"adaptive"', '"adaptive", "anchors": {"perSteps": 1}', (5, 37), "Did you mean `perStep`?"),
        (
            '"adaptive"',
            '"adaptive", "safetyTokens": {"wait": 1}',
            (5, 42),
            "`safetyTokens.wait` is not a setting",
        ),
        ('"adaptive"', '"recommended", "anchors": false', (5, 28), "`anchors`"),
        ('"adaptive"', '"recommended", "anchors": null', (5, 28), "is a part of the method `recommended`"),
        ('"adaptive"', '"adaptive", "risk": {"source": "probe"}', (5, 25), "`risk` needs `probe`, the path"),
        ('"support.jsonl" }', '"support.jsonl"', (4, 41), "not valid JSON"),
    ],
)
def test_errors_name_the_field_and_its_line(tmp_path, old, new, place, message):
    assert old in GOOD
    with pytest.raises(LocatedError) as caught:
        read(tmp_path, GOOD.replace(old, new))
    assert message in caught.value.message
    if "valid JSON" not in message:
        assert (caught.value.line, caught.value.column) == place


def test_settings_that_do_not_go_together_are_named_without_the_whole_file(tmp_path):
    with pytest.raises(LocatedError) as caught:
        read(tmp_path, GOOD.replace('"adaptive"', '"adaptive", "lora": null, "quantisation": "4bit"'))
    assert caught.value.message == "`quantisation` needs an adapter; `lora` must not be null."


def test_a_missing_file_and_a_wrong_encoding(tmp_path):
    with pytest.raises(UserError, match="no such run configuration"):
        read_config(tmp_path / "none.finetune.json")
    path = tmp_path / "x.finetune.json"
    path.write_bytes(b'{"model": "\xff"}')
    with pytest.raises(LocatedError, match="UTF-8"):
        read_config(path)


def test_a_file_that_is_no_object(tmp_path):
    with pytest.raises(LocatedError, match="must be an object"):
        read(tmp_path, "[]")


def test_locate_is_not_fooled_by_strings_and_comments():
    text = '{ // "b": 1\n "a": "{\\"b\\": [",\n "b": [1, {"c": 2}] }'
    assert locate(text, ["b"]) == (3, 2)
    assert locate(text, ["b", 1, "c"]) == (3, 12)
    assert locate(text, ["missing"]) == (1, 1)
