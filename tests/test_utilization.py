"""The bench of utilisation: its suites on a small chip, its switches, and the results that it compares with."""

import json

import numpy as np
import pytest

from bench import utilization
from bench.layers import SHAPES, Kind, Shape, exact, ideal_cycles
from bench.layers import make as make_layer
from compiler.lower import lower
from compiler.window import Window
from hdl.config import configuration
from sim.session import Session

SMALL = configuration("small")
WINDOW = Window(3, 2, (2, 1), (1, 2), (1, 0, 2, 1))
SOME = [
    Shape("linear", "Some", Kind.LINEAR, (1, 9), 20, 11),
    Shape("convolution", "Some", Kind.CONVOLUTION, (5, 6), 3, 7, WINDOW),
    Shape("depthwise", "Some", Kind.DEPTHWISE, (5, 6), 6, 6, WINDOW),
    Shape("maximum", "Some", Kind.MAXIMUM_POOL, (6, 6), 5, 5, Window(3, 3, (2, 2), padding=(1, 1, 1, 1))),
    Shape("average", "Other", Kind.AVERAGE_POOL, (4, 4), 5, 5, Window(4, 4)),
]


@pytest.mark.parametrize("shape", SOME, ids=lambda s: s.name)
def test_results_are_held_against_exact_arithmetic(shape):
    rng = np.random.default_rng(3)
    layer = make_layer(SMALL, shape, rng)
    program = lower(SMALL, layer, shape.lowered_image)
    x = rng.integers(-128, 128, program.inputs["x"].shape).astype(np.int8)
    assert np.array_equal(Session(SMALL).run(program, {"x": x}).outputs["y"], exact(layer, x))


def run(monkeypatch, capsys, *arguments: str) -> dict:
    """The bench's last line, on `small`."""
    monkeypatch.setattr(utilization, "configuration", lambda name: SMALL)
    monkeypatch.setattr(utilization, "SHAPES", SOME)
    monkeypatch.setattr("sys.argv", ["utilization", *arguments])
    utilization.main()
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_layers_are_reported(monkeypatch, capsys):
    last = run(monkeypatch, capsys, "--suite", "layers", "--network", "some")
    detail = last["detail"]
    assert [d["layer"] for d in detail["layers"]] == [s.name for s in SOME[:-1]]
    assert last["value"] == min(d["ratio"] for d in detail["layers"])
    for shape, d in zip(SOME, detail["layers"]):
        assert d["ideal"] == ideal_cycles(SMALL, shape) <= d["cycles"]


def test_squares_are_the_default(monkeypatch, capsys):
    monkeypatch.setattr(utilization, "SIZES", {32: 0.5, 16: 0.5})
    last = run(monkeypatch, capsys)
    assert [s["size"] for s in last["detail"]["sizes"]] == [32, 16]
    assert 0 < last["value"] == last["detail"]["sizes"][0]["percent"] < 100


@pytest.mark.parametrize(("arguments", "message"), [
    (["--suite", "layers", "--network", "alex"], "--network: must begin one of Some, Other, not 'alex'"),
    (["--network", "some"], "--network: goes with --suite layers only"),
])
def test_networks_that_do_not_go_are_refused(monkeypatch, capsys, arguments, message):
    with pytest.raises(SystemExit):
        run(monkeypatch, capsys, *arguments)
    assert message in capsys.readouterr().err


def test_a_layer_with_too_many_weights_is_cut():
    largest = max(SHAPES, key=lambda s: s.outputs * s.channels)
    cut = utilization.runnable(largest)
    assert (cut.name, cut.outputs) == ("lm_head (1/8 of the outputs)", 16032)
    assert utilization.runnable(SHAPES[0]) is SHAPES[0]
