"""The losses against independent, naive formulas, in float64."""

import math

import pytest
import torch

from safe_finetuning.losses import adaptive_loss, risk_to_beta, token_kl, token_nll

RELATIVE = 1e-10


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


def test_nll_and_kl_equal_their_definitions(logits):
    reference, model, targets = logits
    assert token_nll(model, targets).tolist() == pytest.approx(naive_nll(model, targets), rel=RELATIVE)
    assert token_kl(reference, model).tolist() == pytest.approx(naive_kl(reference, model), rel=RELATIVE)


def test_kl_is_not_negative_and_zero_for_equal_models(logits):
    reference, model, _ = logits
    assert (token_kl(reference, model) >= 0).all()
    assert token_kl(reference, reference).abs().max() == 0


def test_low_precision_logits_are_compared_in_fp32(logits):
    reference, model, targets = logits
    assert token_kl(reference.bfloat16(), model.bfloat16()).dtype == torch.float32
    assert token_nll(model.bfloat16(), targets).dtype == torch.float32


def test_adaptive_loss_equals_its_definition(logits):
    reference, model, targets = logits
    row_of_token = [0, 0, 0, 1, 1, 2, 2]
    row_beta = [0.0, 0.3, 1.0]
    beta = torch.tensor([row_beta[r] for r in row_of_token], dtype=torch.float64)
    loss = adaptive_loss(token_nll(model, targets), token_kl(reference, model), beta, 7)
    expected = sum(
        (1 - row_beta[r]) * nll + row_beta[r] * kl
        for r, nll, kl in zip(
            row_of_token, naive_nll(model, targets), naive_kl(reference, model), strict=True
        )
    )
    assert loss.item() == pytest.approx(expected / 7, rel=RELATIVE)


def test_beta_zero_is_the_plain_loss_to_the_bit(logits):
    reference, model, targets = logits
    nll = token_nll(model, targets)
    assert torch.equal(
        adaptive_loss(nll, token_kl(reference, model), torch.zeros(7, dtype=torch.float64), 7), nll.sum() / 7
    )


def test_micro_batches_add_up_to_the_whole(logits):
    reference, model, targets = logits
    beta = torch.linspace(0, 1, 7, dtype=torch.float64)

    def loss(part: slice) -> torch.Tensor:
        nll, kl = token_nll(model[part], targets[part]), token_kl(reference[part], model[part])
        return adaptive_loss(nll, kl, beta[part], 7)

    parts = loss(slice(0, 3)) + loss(slice(3, 4)) + loss(slice(4, 7))
    assert parts.item() == pytest.approx(loss(slice(0, 7)).item(), rel=RELATIVE)


def test_gradient(logits):
    reference, model, targets = logits
    beta = torch.linspace(0, 1, 7, dtype=torch.float64)

    def loss(x: torch.Tensor) -> torch.Tensor:
        return adaptive_loss(token_nll(x, targets), token_kl(reference, x), beta, 7)

    assert torch.autograd.gradcheck(loss, model.clone().requires_grad_())


def test_risk_becomes_beta():
    risk = torch.tensor([0.0, 0.05, 0.1, 0.5, 1.0, math.nan])
    beta = risk_to_beta(risk, beta_min=0.0, beta_max=1.0, floor=0.1)
    assert beta.tolist() == pytest.approx([0.0, 0.0, 0.1, 0.5, 1.0, 1.0])
    beta = risk_to_beta(risk, beta_min=0.1, beta_max=0.9, floor=0.0)
    assert beta.tolist() == pytest.approx([0.1, 0.14, 0.18, 0.5, 0.9, 0.9])
