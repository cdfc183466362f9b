"""Every command and every switch of the command line."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from cimple import commands, programs
from cimple.cli import main
from cimple.version import VERSION
from hdl.config import CONFIGS
from hdl.program import Program
from sim.rtl import tools
from tests.sim.test_session import store_program

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def call():
    """Runs a command line in this process; returns exit code, standard output and standard error."""
    def run(*arguments: str) -> tuple[int, str, str]:
        result = CliRunner().invoke(main, arguments)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.stdout, result.stderr

    return run


@pytest.fixture
def program(tmp_path) -> Path:
    path = tmp_path / "store.cim"
    store_program().save(path)
    return path


def test_it_is_a_module():
    result = subprocess.run([sys.executable, "-m", "cimple", "--version"], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0


@pytest.mark.parametrize("command", [None, *sorted(main.commands)])
def test_help_has_an_example(call, command):
    code, out, _ = call(*([command] if command else []), "--help")
    assert code == 0
    assert f"cimple {command or 'doctor'}" in out


def test_version(call):
    code, out, _ = call("--version")
    assert (code, out) == (0, f"cimple, version {VERSION}\n")


def test_no_command_shows_the_help(call):
    assert "Commands:" in "".join(call()[1:])


# doctor, configs


def test_doctor(call):
    code, out, _ = call("doctor")
    assert code == 0
    assert "libpython" in out
    assert "everything that is required is there" in out


def test_doctor_without_a_compiler(call, monkeypatch):
    missing = tools.Tool("g++", None, "", "simulation with Verilator", "apt-get install g++", True)
    monkeypatch.setattr(sys.modules["cimple.commands.doctor"], "find_tools", lambda: (missing,))
    code, out, err = call("doctor")
    assert code == 2
    assert "missing" in out
    assert err == "error: g++ is missing, which simulation with Verilator needs: run apt-get install g++\n"


def test_configs(call):
    code, out, _ = call("configs")
    assert code == 0
    for config in CONFIGS.values():
        assert f"{config.hash:016x}" in out


# verilog


def test_verilog(call, tmp_path):
    code, out, _ = call("verilog", "--config", "tiny", "--out", str(tmp_path / "v"))
    assert code == 0
    assert out.split() == [str(tmp_path / "v" / name) for name in ("chip.v", "chip.json", "cimple_tiny.h")]
    description = json.loads((tmp_path / "v" / "chip.json").read_text())
    assert description["top"] == "chip"
    assert description["hash"] == f"{CONFIGS['tiny'].hash:016x}"
    assert description["view"] == "generic"
    assert description["ports"]["m_axi_rdata"] == {"direction": "input", "width": 64}
    assert "module chip(" in (tmp_path / "v" / "chip.v").read_text()


def test_verilog_view(call, tmp_path):
    assert call("verilog", "--config", "tiny", "--out", str(tmp_path), "--view", "simulation")[0] == 0
    assert "popcount" in (tmp_path / "chip.v").read_text()


def test_verilog_of_no_configuration_writes_nothing(call, tmp_path):
    code, _, err = call("verilog", "--config", "huge", "--out", str(tmp_path / "v"))
    assert code == 2
    assert err == "error: configuration must be one of tiny, small, ulx3s, edge, edge11, m50, not 'huge'\n"
    assert not (tmp_path / "v").exists()


# run


def test_run_on_the_golden_model(call, program, tmp_path):
    code, out, _ = call("run", str(program), "--output", str(tmp_path / "y.npz"), "--no-progress", "--seed", "3")
    assert code == 0
    assert "output y" in out
    assert np.load(tmp_path / "y.npz")["y"].shape == (2, CONFIGS["small"].out_cols)


def test_run_takes_inputs_and_switches(call, program, tmp_path, monkeypatch):
    seen = {}

    class Recorder:
        def __init__(self, config, backend, *, view):
            seen.update(config=config.name, backend=backend, view=view)

        def run(self, program, inputs, **switches):
            seen.update(inputs=inputs, **switches)
            from sim.session import Result
            return Result({}, 100, {}, False, 0.1)

    monkeypatch.setattr(sys.modules["cimple.commands.run"], "Session", Recorder)
    np.savez(tmp_path / "x.npz", x=np.arange(3, dtype=np.int8))
    code, out, _ = call("run", str(program), "--backend", "icarus", "--config", "tiny", "--view", "generic",
                        "--progress", "--max-cycles", "50", "--input", str(tmp_path / "x.npz"))
    assert code == 0
    assert "1000" in out
    assert seen.pop("inputs")["x"].tolist() == [0, 1, 2]
    assert seen == {"config": "tiny", "backend": "icarus", "view": "generic", "progress": True, "max_cycles": 50}


def test_run_on_the_wrong_configuration(call, program):
    code, _, err = call("run", str(program), "--config", "tiny")
    assert code == 2
    assert err.startswith("error: the program was made for configuration 'small' (")


@pytest.mark.parametrize(("content", "message"), [
    (None, "error: the program '{0}' cannot be read: No such file or directory\n"),
    (b"GGUF....", "error: '{0}' is not a cimple program: it does not begin with CIMPLE01\n"),
    (b"CIMPLE01" + bytes(40), "error: '{0}' is a damaged cimple program; compile it again\n"),
])
def test_run_of_what_is_no_program(call, tmp_path, content, message):
    path = tmp_path / "x.cim"
    if content is not None:
        path.write_bytes(content)
    code, out, err = call("run", str(path))
    assert (code, out, err) == (2, "", message.format(path))


def test_run_with_inputs_that_are_none(call, program, tmp_path):
    (tmp_path / "x.npz").write_text("no")
    code, _, err = call("run", str(program), "--input", str(tmp_path / "x.npz"))
    assert code == 2
    assert err.startswith(f"error: the inputs '{tmp_path / 'x.npz'}' cannot be read as .npz: ")


def test_run_names_the_cause_of_a_stop(call, tmp_path):
    small = CONFIGS["small"]
    Program(small.name, small.hash, 0, 1, ((0, bytes(64)),), 0x100).save(tmp_path / "x.cim")
    code, _, err = call("run", str(tmp_path / "x.cim"))
    assert (code, err) == (2, "error: the program was stopped with cause ILLEGAL_OPCODE (1) at 0x0\n")


# bench, waves: programs of the source tree


@pytest.fixture
def started(monkeypatch):
    """Records what would be started."""
    calls = []
    monkeypatch.setattr(programs, "start", lambda *arguments: calls.append(arguments) or 0)
    return calls


def test_bench_starts_its_script(call, started, monkeypatch):
    monkeypatch.setattr(sys.modules["cimple.commands.bench"], "known", lambda: ["sim-speed"])
    assert call("bench", "sim-speed", "--quick")[0] == 0
    assert started == [("bench.sim_speed", "--quick")]


def test_bench_lists_its_names(call):
    code, out, _ = call("bench")
    assert code == 0
    assert out.split() == sys.modules["cimple.commands.bench"].known()
    assert "report" not in out


def test_an_unknown_bench(call, started, monkeypatch):
    monkeypatch.setattr(sys.modules["cimple.commands.bench"], "known", lambda: ["overlap", "sim-speed"])
    code, _, err = call("bench", "speed")
    assert (code, err, started) == (2, "error: the bench must be one of overlap, sim-speed, not 'speed'\n", [])


def test_waves_starts_with_all_switches(call, started):
    code, _, _ = call("waves", "--bench", "macro", "--config", "tiny", "--sim", "icarus", "--testcase", "t",
                      "--seed", "9")
    assert code == 0
    assert started == [("verif.waves", "--bench", "macro", "--config", "tiny", "--sim", "icarus", "--testcase", "t",
                        "--seed", "9")]


def test_waves_of_an_unknown_bench():
    result = subprocess.run([sys.executable, "-m", "cimple", "waves", "--bench", "nothing"], cwd=ROOT,
                            capture_output=True, text=True)
    assert result.returncode == 2
    assert result.stderr.startswith("error: the bench must be one of ")


def test_a_missing_tool_is_one_sentence(call, program, monkeypatch):
    def missing(simulator):
        raise tools.MissingTool(f"iverilog is needed for simulation with {simulator}")

    monkeypatch.setattr(sys.modules["sim.session"], "require_simulator", missing)
    code, _, err = call("run", str(program), "--backend", "icarus")
    assert (code, err) == (2, "error: iverilog is needed for simulation with icarus\n")


def test_programs_need_a_source_tree(monkeypatch, tmp_path):
    monkeypatch.setattr(programs, "ROOT", tmp_path)
    with pytest.raises(ValueError, match=r"^the folder 'verif' must be there, which only a source tree has"):
        programs.folder("verif")


def test_a_program_runs_and_its_exit_code_comes_back():
    assert programs.start("verif.waves", "--bench", "nothing") == 2


def test_all_commands_are_there():
    assert set(main.commands) == set(commands.__all__)
