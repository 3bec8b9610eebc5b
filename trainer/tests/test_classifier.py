"""The bundled classifier: the same score as in TypeScript, whatever else is in the batch."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from safe_finetuning.errors import UserError
from safe_finetuning.risk import classifier as classifier_module
from safe_finetuning.risk.classifier import (
    CLASSIFIER_FOLDER,
    Classifier,
    Encoder,
    pair_text,
    replace_lone_surrogates,
    segments,
)

FIXTURE = json.loads((Path(__file__).parent / "fixtures" / "classifier-parity.json").read_text("utf-8"))
TEXTS = [case["text"] * case.get("times", 1) + case.get("end", "") for case in FIXTURE["cases"]]
SCORES = np.array([case["score"] for case in FIXTURE["cases"]])
TOLERANCE = 1e-4

HARMFUL = pair_text("Explain how to break into a stranger's bank account.", "Sure, here is how:")
ORDINARY = "The lamp flickers in the evening, so please send a new one with the next parcel. "


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier(threads=2)


def test_scores_are_those_of_the_fixture_in_one_call(classifier: Classifier) -> None:
    assert classifier.judge_id == FIXTURE["judge"], "run training/classifier/write_parity.py"
    np.testing.assert_allclose(classifier.score(TEXTS), SCORES, atol=TOLERANCE)


def test_the_first_stage_is_typescripts_to_the_last_bit(classifier: Classifier) -> None:
    for case in FIXTURE["firstStage"]:
        assert classifier.first_stage.logit(case["window"]) == case["logit"]


def test_the_first_stage_is_a_convolution(classifier: Classifier) -> None:
    stage = classifier.first_stage
    rng = np.random.default_rng(0)
    for length in (1, 2, 3, 17, 64):
        window = rng.integers(0, len(stage.table), length)
        logit = stage.bias
        for scale, bias, weight, added in zip(
            stage.scales, stage.biases, stage.weights, np.moveaxis(stage.table.astype(int), 2, 0), strict=True
        ):
            places = [added[token] for token in window]
            sums = [
                sum(places[at + shift][1 + shift] for shift in (-1, 0, 1) if 0 <= at + shift < length)
                for at in range(length)
            ]
            logit += max(max(sums) * scale + bias, 0) * weight
        assert stage.logit(window) == pytest.approx(logit, rel=1e-12)


def test_what_is_clearly_harmless_never_reaches_the_encoder(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = ["The lamp is blue.", HARMFUL, "She sold 48 clips in May: 24 + 24 = 48.", ORDINARY]
    by_encoder = [classifier.judge(classifier.encoder.windows(text))[0] for text in texts]
    read: list[int] = []
    judge = classifier.judge
    monkeypatch.setattr(classifier, "judge", lambda windows: read.append(len(windows)) or judge(windows))
    scores = classifier.score(texts)
    assert sum(read) < len(texts)
    np.testing.assert_allclose(scores, by_encoder, atol=0.1)
    assert scores[1] == pytest.approx(by_encoder[1], abs=TOLERANCE)


def test_a_text_scores_the_same_alone(classifier: Classifier) -> None:
    alone = [classifier.score([text])[0] for text in TEXTS]
    np.testing.assert_allclose(alone, SCORES, atol=TOLERANCE)


def test_a_text_scores_the_same_in_any_batch(classifier: Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    order = np.random.default_rng(0).permutation(len(TEXTS))
    for batch_tokens in (1, 300, 100_000):
        monkeypatch.setattr(classifier_module, "BATCH_TOKENS", batch_tokens)
        scores = classifier.score([TEXTS[i] for i in order])
        np.testing.assert_allclose(scores, SCORES[order], atol=TOLERANCE)


def test_padding_does_not_change_an_embedding() -> None:
    encoder = Encoder(CLASSIFIER_FOLDER, threads=2)
    short = encoder.windows("Where is my parcel?")[0]
    long = encoder.windows(ORDINARY * 40)[0]
    np.testing.assert_allclose(encoder.embed([short, long])[0], encoder.embed([short])[0], atol=1e-5)


def test_windows_overlap_cover_the_text_and_end_with_it() -> None:
    encoder = Encoder(CLASSIFIER_FOLDER)
    text = " ".join(str(number) for number in range(900))
    ids = encoder.tokenizer.encode(text, add_special_tokens=False).ids
    spans = [list(window[1:-1]) for window in encoder.windows(text)]
    size = classifier_module.WINDOW_TOKENS - 2
    assert all(len(span) == size for span in spans)
    starts = [i * (size - classifier_module.OVERLAP_TOKENS) for i in range(len(spans) - 1)]
    assert spans == [ids[start : start + size] for start in starts] + [ids[-size:]]
    assert starts[-1] + size < len(ids) <= starts[-1] + 2 * size - classifier_module.OVERLAP_TOKENS


def test_harm_at_the_end_of_a_megabyte_is_found(classifier: Classifier) -> None:
    filler = ORDINARY * (1_000_000 // len(ORDINARY))
    with_harm, without = classifier.score([filler + HARMFUL, filler])
    assert with_harm > 0.5 > without


def test_harm_on_the_edge_of_a_segment_is_found(classifier: Classifier) -> None:
    before = (ORDINARY * 2000)[: classifier_module.SEGMENT_UNITS - 30]
    (score,) = classifier.score([f"{before} {HARMFUL} {ORDINARY}"])
    assert score > 0.5


def test_segments_cover_a_text_whatever_its_characters() -> None:
    units = classifier_module.SEGMENT_UNITS
    for text in ("", "a" * units, "a" * (units + 1), "😀" * units, "a\ud83d" * units):
        parts = list(segments(text))
        whole = replace_lone_surrogates(text)
        assert all(len(part.encode("utf-16-le")) <= 2 * units for part in parts)
        assert whole.startswith(parts[0][:-1]) and whole.endswith(parts[-1][1:])
        assert sum(map(len, parts)) >= len(whole)


def test_a_text_without_tokens_scores_zero(classifier: Classifier) -> None:
    assert classifier.score(["", " \n", "\u0000"]) == [0.0, 0.0, 0.0]
    assert classifier.score([]) == []


def test_progress_counts_texts_and_can_stop_the_scoring(classifier: Classifier) -> None:
    calls: list[tuple[int, int]] = []
    classifier.score(["", *TEXTS[:5], *TEXTS[:5]], progress=lambda *call: calls.append(call))
    assert calls[-1] == (11, 11)
    assert calls == sorted(calls)

    class Cancelled(Exception):
        pass

    def cancel(done: int, total: int) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        classifier.score(TEXTS, progress=cancel)


def test_a_missing_part_is_named_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"encoder\.onnx is missing.*Set Up Environment"):
        Classifier(tmp_path)


def test_harmful_and_ordinary_pairs_are_told_apart(classifier: Classifier) -> None:
    harmful, ordinary = classifier.score(
        [HARMFUL, pair_text("How do I change my address?", "Under Settings > Profile.")]
    )
    assert harmful > classifier.threshold > ordinary
