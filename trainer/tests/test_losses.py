"""The losses against independent, naive formulas, in float64 and fp32."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from safe_finetuning.losses import (
    TopK,
    constrained_token_loss,
    regularised_loss,
    risk_to_beta,
    token_nll,
    token_terms,
    top_k,
)

RELATIVE = 1e-10
PRECISIONS = {torch.float64: RELATIVE, torch.float32: 1e-5}
HELD = torch.tensor([True, False, True, True, False, False, True])
WATCHED = torch.tensor([False, True, True, False, False, True, False])
TOKENS = torch.tensor([4, 9])


@pytest.fixture
def logits() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Reference and model logits (7 tokens, vocabulary 11) and targets."""
    generator = torch.Generator().manual_seed(3)
    reference, model = 3 * torch.randn(2, 7, 11, generator=generator, dtype=torch.float64)
    return reference, model, torch.randint(11, (7,), generator=generator)


def softmax(row: list[float]) -> list[float]:
    exponentials = [math.exp(x) for x in row]
    return [e / sum(exponentials) for e in exponentials]


def naive_nll(model: torch.Tensor, targets: torch.Tensor) -> list[float]:
    return [-math.log(softmax(row)[t]) for row, t in zip(model.tolist(), targets.tolist(), strict=True)]


def naive_kl(reference: torch.Tensor, model: torch.Tensor) -> list[float]:
    return [
        sum(p * math.log(p / q) for p, q in zip(softmax(r), softmax(m), strict=True))
        for r, m in zip(reference.tolist(), model.tolist(), strict=True)
    ]


def terms(reference, model, targets):
    return token_terms(model, targets, held=HELD, reference=reference, watched=WATCHED, tokens=TOKENS)


@pytest.mark.parametrize(("dtype", "relative"), PRECISIONS.items())
def test_terms_equal_their_definitions(logits, dtype, relative):
    reference, model, targets = (x.to(dtype) if x.is_floating_point() else x for x in logits)
    found = terms(reference[HELD], model, targets)
    assert found.nll.tolist() == pytest.approx(naive_nll(model, targets), rel=relative)
    kl = torch.tensor(naive_kl(reference, model), dtype=dtype)
    torch.testing.assert_close(found.kl, torch.where(HELD, kl, 0), rtol=relative, atol=0)
    watched = [[math.log(softmax(row)[t]) for t in TOKENS] for row in model[WATCHED].tolist()]
    torch.testing.assert_close(found.watched, torch.tensor(watched, dtype=dtype), rtol=relative, atol=0)
    assert torch.equal(token_nll(model, targets), found.nll)


def test_divergence_is_not_negative_and_zero_for_equal_models(logits):
    reference, model, targets = logits
    assert (terms(reference[HELD], model, targets).kl >= 0).all()
    assert terms(model[HELD], model, targets).kl.abs().max() == 0
    assert terms(top_k(model[HELD], 3), model, targets).kl.abs().max() < 1e-15


@pytest.mark.parametrize(("dtype", "relative"), [(torch.float64, 1e-9), (torch.float32, 1e-5)])
@pytest.mark.parametrize("k", [1, 3, 11])
def test_top_k_divergence_equals_its_definition_and_is_a_lower_bound(logits, k, dtype, relative):
    reference, model, targets = (x.to(dtype) if x.is_floating_point() else x for x in logits)
    found = terms(top_k(reference[HELD], k), model, targets).kl[HELD]
    expected = []
    for r, m in zip(reference[HELD].tolist(), model[HELD].tolist(), strict=True):
        p, q = softmax(r), softmax(m)
        likeliest = sorted(range(11), key=lambda v: -p[v])[:k]
        rest_p, rest_q = (max(1 - sum(x[v] for v in likeliest), 2.3e-16) for x in (p, q))
        expected.append(
            sum(p[v] * math.log(p[v] / q[v]) for v in likeliest) + rest_p * math.log(rest_p / rest_q)
        )
    assert found.tolist() == pytest.approx(expected, rel=relative)
    assert (found <= (1 + relative) * terms(reference[HELD], model, targets).kl[HELD]).all()


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_the_cache_misses_less_than_a_hundredth_of_the_divergence(dtype):
    """Of logits like those of language models: a vocabulary of many thousands whose probabilities fall with a
    power of the rank, with one or two nats of entropy; the model's are some way from the reference's."""
    draw = torch.Generator().manual_seed(4)
    power = torch.empty(32, 1).uniform_(1.7, 2.5, generator=draw)
    ranks = torch.rand(32, 49_152, generator=draw).argsort(-1) + 1
    reference = (-power * ranks.log() + 0.3 * torch.randn(ranks.shape, generator=draw)).to(dtype)
    model = reference + 0.5 * torch.randn(ranks.shape, generator=draw).to(dtype)
    entropy = torch.distributions.Categorical(logits=reference).entropy()
    assert entropy.min() > 0.5 and entropy.max() < 3
    everywhere, targets = torch.ones(32, dtype=torch.bool), torch.zeros(32, dtype=torch.long)
    exact, kept = (
        token_terms(model, targets, held=everywhere, reference=x).kl for x in (reference, top_k(reference))
    )
    assert (kept < exact).all()
    assert kept.sum() >= 0.99 * exact.sum() > 0.32


def test_low_precision_logits_are_compared_in_fp32(logits):
    reference, model, targets = logits
    found = terms(reference[HELD].bfloat16(), model.bfloat16(), targets)
    assert {x.dtype for x in found} == {torch.float32}


@pytest.mark.parametrize("k", [None, 3])
def test_gradient(logits, k):
    reference, model, targets = logits
    kept = reference[HELD] if k is None else top_k(reference[HELD], k)

    def outputs(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(terms(kept, x, targets))

    assert torch.autograd.gradcheck(outputs, model.clone().requires_grad_())


@pytest.mark.parametrize(("dtype", "relative"), PRECISIONS.items())
def test_regularised_loss_equals_its_definition(logits, dtype, relative):
    reference, model, targets = logits
    alpha, beta = torch.linspace(0, 1, 7, dtype=dtype), torch.linspace(2, 0, 7, dtype=dtype)
    nll, kl = naive_nll(model, targets), naive_kl(reference, model)
    expected = (
        sum(a * n + b * k for a, n, b, k in zip(alpha.tolist(), nll, beta.tolist(), kl, strict=True)) / 5
    )
    found = regularised_loss(*(torch.tensor(x, dtype=dtype) for x in (nll, kl)), alpha, beta, 5)
    assert found.item() == pytest.approx(expected, rel=relative)


def test_without_weights_it_is_the_plain_loss_to_the_bit(logits):
    reference, model, targets = logits
    found = terms(reference[HELD], model, targets)
    ones = torch.ones(7, dtype=torch.float64)
    assert torch.equal(regularised_loss(found.nll, found.kl, ones, 0 * ones, 7), found.nll.sum() / 7)


@pytest.mark.parametrize(("dtype", "relative"), PRECISIONS.items())
def test_constrained_loss_equals_its_definition(logits, dtype, relative):
    reference, model, targets = logits
    place = torch.tensor([0, 1, 4, 5, 9, 0, 2])
    nll, reference_nll = naive_nll(model, targets), naive_nll(reference, targets)
    expected = []
    for b, n, r in zip([0.5, 2.0, 2.0, 0.1, 0.1, 0.5, 2.0], nll, reference_nll, strict=True):
        expected.append(-(2 / b) * math.log(1 / (1 + math.exp(-b * (r - n)))))
    found = constrained_token_loss(*(torch.tensor(x, dtype=dtype) for x in (nll, reference_nll)), place)
    assert found.tolist() == pytest.approx(expected, rel=relative)


def test_risk_becomes_beta():
    risk = torch.tensor([0.0, 0.05, 0.1, 0.5, 1.0, math.nan])
    beta = risk_to_beta(risk, beta_min=0.0, beta_max=1.0, floor=0.1)
    assert beta.tolist() == pytest.approx([0.0, 0.0, 0.1, 0.5, 1.0, 1.0])
    beta = risk_to_beta(risk, beta_min=0.1, beta_max=0.9)
    assert beta.tolist() == pytest.approx([0.1, 0.14, 0.18, 0.5, 0.9, 0.9])


@given(st.floats(1, 5))
def test_the_clamped_mapping_is_that_of_the_released_code(score):
    beta = risk_to_beta(
        torch.tensor([(score - 1) / 4], dtype=torch.float64), beta_min=0.1, beta_max=0.9, mapping="clamped"
    )
    assert beta.item() == pytest.approx(min(max((score - 2) / 3, 0.1), 0.9), abs=1e-12)


def test_what_the_released_code_weighs_differently(logits):
    """It divides nll by the tokens of the step and KL by those of the micro-batch.

    So over k equal micro-batches KL weighs k times as much as in the paper's formula, and as in ours.
    """
    reference, model, targets = logits
    beta, micro_batches = 0.4, (slice(0, 4), slice(4, 8))
    pad = [torch.cat([x, x[:1]]) for x in (reference, model, targets)]
    everything = torch.ones(8, dtype=torch.bool)
    whole = token_terms(pad[1], pad[2], held=everything, reference=pad[0])
    released = sum(
        (1 - beta) * whole.nll[part].sum() / 8 + beta * whole.kl[part].mean() for part in micro_batches
    )
    weights = torch.full((8,), beta, dtype=torch.float64)
    ours = sum(
        regularised_loss(whole.nll[part], whole.kl[part], 1 - weights[part], weights[part], 8)
        for part in micro_batches
    )
    assert ours.item() == pytest.approx(
        ((1 - beta) * whole.nll.mean() + beta * whole.kl.mean()).item(), rel=RELATIVE
    )
    assert (released - ours).item() == pytest.approx((beta * whole.kl.mean()).item(), rel=RELATIVE)


def test_top_k_keeps_the_likeliest(logits):
    reference, _, _ = logits
    kept: TopK = top_k(reference, 3)
    for row, ids, log_probs in zip(
        reference.tolist(), kept.tokens.tolist(), kept.log_probs.tolist(), strict=True
    ):
        p = softmax(row)
        assert ids == sorted(range(11), key=lambda v: -p[v])[:3]
        assert log_probs == pytest.approx([math.log(p[v]) for v in ids], rel=RELATIVE)
