"""Logits at supervised positions are the model's own, on architectures that treat them differently."""

import pytest
import torch
from transformers import AutoModelForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from safe_finetuning.supervised_logits import (
    IGNORED,
    predicting_positions,
    row_of_token,
    select_rows,
    supervised_logits,
    supervised_targets,
)

SMALL = {
    "vocab_size": 50,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "pad_token_id": 0,
}
ARCHITECTURES = {
    "llama": {},
    "qwen2": {},
    "gemma2": {"final_logit_softcapping": 5.0},
    "granite": {"logits_scaling": 3.0},
}


@pytest.fixture(params=ARCHITECTURES)
def model(request):
    torch.manual_seed(1)
    config = CONFIG_MAPPING[request.param](**SMALL, **ARCHITECTURES[request.param])
    return AutoModelForCausalLM.from_config(config, attn_implementation="eager").double().eval()


@pytest.fixture
def batch():
    """Three rows of 9, 5 and 7 tokens, padded on the right, with some tokens supervised."""
    generator = torch.Generator().manual_seed(2)
    lengths = torch.tensor([9, 5, 7])
    attention_mask = (torch.arange(9) < lengths[:, None]).long()
    input_ids = torch.randint(1, 50, (3, 9), generator=generator) * attention_mask
    supervised = (torch.rand(3, 9, generator=generator) < 0.6) & attention_mask.bool()
    supervised[:, 0] = False
    return {
        "input_ids": input_ids,
        "attention_mask": attention_mask,
        "labels": torch.where(supervised, input_ids, IGNORED),
    }


def test_equal_to_all_logits_at_these_positions(model, batch):
    head = model.get_output_embeddings()
    everything = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    positions = predicting_positions(batch["labels"])
    found = supervised_logits(model, head, batch)
    assert torch.allclose(found, everything[positions], rtol=1e-10, atol=1e-12)
    assert supervised_targets(batch["labels"]).tolist() == [
        batch["labels"][b, t + 1].item() for b, t in positions.nonzero().tolist()
    ]
    assert row_of_token(batch["labels"]).tolist() == positions.nonzero()[:, 0].tolist()
    again = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    assert torch.equal(again, everything), "the hook must be gone"


class EightBitHead(torch.nn.Module):
    """An output embedding as a quantised model has it: integers and a scale for each token."""

    def __init__(self, head: torch.nn.Linear) -> None:
        super().__init__()
        scale = head.weight.abs().amax(1, keepdim=True) / 127
        self.register_buffer("scale", scale)
        self.register_buffer("weight", (head.weight / scale).round().to(torch.int8))

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return hidden @ (self.weight * self.scale).T


def test_a_quantised_head_gives_its_own_logits_and_lets_gradients_through(model, batch):
    head = EightBitHead(model.get_output_embeddings())
    model.set_output_embeddings(head)
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    everything = model(**inputs).logits[predicting_positions(batch["labels"])]
    found = supervised_logits(model, head, batch)
    assert torch.allclose(found, everything, rtol=1e-10, atol=1e-12)
    weights = [x for name, x in model.named_parameters() if "proj" in name]
    for ours, whole in zip(
        *(torch.autograd.grad(x.logsumexp(-1).sum(), weights) for x in (found, everything)), strict=True
    ):
        torch.testing.assert_close(ours, whole, rtol=1e-8, atol=1e-12)


def test_padding_and_company_do_not_matter(model, batch):
    head = model.get_output_embeddings()
    together = supervised_logits(model, head, batch)
    owner = row_of_token(batch["labels"])
    for row in range(3):
        alone = select_rows(batch, torch.tensor([row]))
        assert alone["input_ids"].shape[1] == int(batch["attention_mask"][row].sum())
        assert torch.allclose(
            supervised_logits(model, head, alone), together[owner == row], rtol=1e-10, atol=1e-10
        )
