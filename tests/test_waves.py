"""``python -m verif.waves``, with a toy for its bench."""

from pathlib import Path

import pytest

from sim.rtl import SIMULATORS
from verif import benches, waves

from .sim.rtl.toy import Toy


@pytest.fixture(autouse=True)
def toy_bench(monkeypatch):
    bench = benches.Bench(name="toy", component=lambda config: Toy(), module="tests.sim.rtl.toy_bench",
                          configs=("small",), verilator_configs=("tiny",),
                          environment={"EXPECTED_CONFIG": "small"}, signals={"sums": ("o_*",)})
    monkeypatch.setattr(benches, "BENCHES", (bench,))
    return bench


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_it_prints_paths_and_the_command(simulator, capsys):
    assert waves.main(["--bench", "toy", "--config", "small", "--sim", simulator, "--testcase", "adds",
                       "--seed", "2"]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert lines["open"] == f"gtkwave {lines['signals']}"
    text = Path(lines["signals"]).read_text()
    assert f'"{lines["waves"]}"' in text
    assert "-sums\n@22\ntoy.o_total[7:0]\n" in text


def test_failing_tests_leave_waves(capsys):
    assert waves.main(["--bench", "toy", "--config", "tiny"]) == 1
    out, err = capsys.readouterr()
    assert "failed: knows_the_configuration" in err
    assert "open     gtkwave " in out


@pytest.mark.parametrize(("arguments", "message"), [
    (["--bench", "no"], "error: the bench must be one of toy, not 'no'\n"),
    (["--bench", "toy", "--config", "no"], "error: configuration must be one of "),
])
def test_what_does_not_exist(arguments, message, capsys):
    assert waves.main(arguments) == 2
    assert capsys.readouterr().err.startswith(message)


def test_cases_of_a_simulator(toy_bench):
    assert [config.name for _, config in benches.cases("verilator")] == ["small", "tiny"]
    assert [config.name for _, config in benches.cases("icarus", "toy")] == ["small"]
    with pytest.raises(ValueError, match=r"^the simulator must be one of verilator, icarus, not 'vcs'$"):
        benches.cases("vcs")


def test_a_bench_runs(toy_bench):
    made = toy_bench.build(toy_bench.configurations("icarus")[0], "icarus")
    assert made.simulator == "icarus"
    assert toy_bench.run(made, seed=4).passed == ("adds", "knows_the_configuration")
