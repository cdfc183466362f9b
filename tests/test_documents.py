"""What the documents say exists: commands, files, links, snippets, ports. Generated tables: ``tests/cimple``."""

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from cimple import docs
from cimple.chip_ports import chip_ports
from cimple.cli import main
from cimple.commands.bench import known as known_benches
from cimple.header import c_header
from hdl.chip import Chip
from hdl.config import CONFIGS
from sim.rtl import generated
from sim.rtl.tools import find_tools
from sim.session import chip
from verif import benches

from .test_skeleton import TARGETS

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *docs.documents(docs.DOCS)]
VARIABLES = {"SIM", "CONFIG", "JOBS", "TB", "SEED", "NAME", "SENTENCE"}
INTEGRATION = (docs.DOCS / "integration.md").read_text(encoding="utf-8")


@pytest.fixture(params=PAGES, ids=lambda page: page.name)
def page(request) -> Path:
    return request.param


def prose(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def fences(text: str, language: str) -> list[str]:
    """Blocks of code in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.M | re.S)


def commands(text: str, program: str) -> list[list[str]]:
    """Words of every command of a program: between backticks, and at the start of an indented line."""
    spans = re.findall(rf"`{program} ([^`\n]*)`", text) + re.findall(rf"^    {program} (.*)$", text, re.M)
    return [re.split(r"\s{2,}|\s#", span)[0].split() for span in spans]


def test_make_targets_exist(page):
    for words in commands(prose(page), "make"):
        target, *settings = words
        assert target in TARGETS, f"make {target}"
        for setting in (word for word in settings if "=" in word):
            name, value = setting.split("=", 1)
            assert name in VARIABLES, f"make {' '.join(words)}"
            assert name != "CONFIG" or value in CONFIGS
            assert name != "TB" or value == "none" or benches.bench(value)


def test_cimple_commands_exist(page):
    for words in commands(prose(page), "cimple"):
        name, *arguments = words
        assert name in main.commands, f"cimple {name}"
        options = {option for parameter in main.commands[name].params if isinstance(parameter, click.Option)
                   for option in (*parameter.opts, *parameter.secondary_opts)}
        if name == "bench" and arguments:
            assert arguments[0] in known_benches(), f"cimple bench {arguments[0]}"
            script = (ROOT / "bench" / f"{arguments[0].replace('-', '_')}.py").read_text()
            options |= set(re.findall(r'add_argument\("(--[\w-]+)"', script))
        assert set(re.findall(r"--[\w-]+", " ".join(arguments))) <= options, f"cimple {' '.join(words)}"


def test_readme_names_every_command_and_target():
    text = prose(ROOT / "README.md")
    for bench in known_benches():
        assert f"`cimple bench {bench}`" in text
    for target in TARGETS - {"docs", "clean", "bench"}:
        assert re.search(rf"make {target}\b", text), f"make {target}"


def anchors(page: Path) -> set[str]:
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
            for heading in re.findall(r"^#+ (.*)$", prose(page), re.M)}


def test_links_resolve(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"https?://", target):
            continue
        file, _, anchor = target.partition("#")
        linked = page.parent / file if file else page
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), target


def test_files_exist(page):
    """Everything between backticks that looks like a file or folder of the tree, and is not generated."""
    for name in re.findall(r"`([\w.-]+(?:/[\w.-]+)*/(?:[\w-]+\.\w+)?|\w+(?:/[\w-]+)+)`", prose(page)):
        if not name.startswith("build"):
            assert (ROOT / name).exists(), name


def test_components_exist():
    """The tree of the architecture page names classes of ``hdl``."""
    tree = fences(prose(docs.DOCS / "architecture.md"), "")[0]
    named = re.findall(r"^ *([a-z_.]+)\.([A-Z]\w+)  ", tree, re.M)
    assert len(named) > 10
    for module, component in named:
        assert hasattr(importlib.import_module(f"hdl.{module}"), component), f"{module}.{component}"


@pytest.mark.parametrize(("page", "code"), [
    pytest.param(page, code, id=f"{page.name}-{number}")
    for page in PAGES for number, code in enumerate(fences(page.read_text(encoding="utf-8"), "python"))])
def test_snippets_run(page, code, tmp_path):
    """On the golden model, where a snippet would run a program on Verilator."""
    code = code.replace('"verilator")', '"golden")')
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True,
                            env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip()


def test_readme_snippet_shows_what_planes_cost(tmp_path):
    """Its figures, from the golden model: time falls with the planes."""
    (code,) = fences(prose(ROOT / "README.md"), "python")
    result = subprocess.run([sys.executable, "-c", code.replace('"verilator")', '"golden")')], cwd=tmp_path,
                            capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True)
    busy = [int(cycles) for cycles in re.findall(r"planes: (\d+) cycles", result.stdout)]
    assert busy[0] * 4 == busy[1] * 7
    assert (tmp_path / "layer.cim").is_file()


def test_generated_parts_are_up_to_date():
    assert docs.main(["--check"]) == 0


def test_no_machine_paths(page):
    assert not re.search(r"(?<![\w.<-])/(home|root|work|opt|Users|tmp|usr|srv|mnt)/", prose(page))


def test_pictures_are_readable_in_light_and_dark():
    for picture in (docs.DOCS / "images").glob("*.svg"):
        text = picture.read_text(encoding="utf-8")
        assert "@media (prefers-color-scheme: dark)" in text
        assert 'class="page"' in text, "a picture brings its own background"


# The data sheet


@pytest.mark.parametrize("name", ["tiny", "small"])
def test_port_table_is_that_of_the_verilog(name):
    config = CONFIGS[name]
    widths = {"bus_bits": config.bus_bits, "bus_bits / 8": config.bus_bytes}
    assert {port.name: ("output" if port.is_output else "input", widths.get(port.width) or int(port.width))
            for port in chip_ports()} == generated(chip, config, name="chip").ports
    assert all(port.meaning for port in chip_ports())


def test_template_connects_every_port():
    component = Chip(CONFIGS["small"])
    component._MustUse__silence = True
    (template,) = fences(INTEGRATION, "verilog")
    connected = re.findall(r"^    \.(\w+)\((\w+)\)", template, re.M)
    assert [port for port, _ in connected] == [port for _, port in connected]
    assert sorted(port for port, _ in connected) == sorted(["clk", "rst", *component.signature.members])


def test_template_elaborates(tmp_path):
    """In Icarus, with the chip behind it; a port of another width would warn."""
    (template,) = fences(INTEGRATION, "verilog")
    (tmp_path / "soc.v").write_text(template)
    (tmp_path / "chip.v").write_text(generated(chip, CONFIGS["small"], name="chip").text)
    iverilog = next(tool for tool in find_tools() if tool.name == "iverilog").require()
    for language in (["-g2012"], ["-g2005", "-DSYNTHESIS"]):
        result = subprocess.run([iverilog, *language, "-Wportbind", "-tnull", "-s", "soc", "soc.v", "chip.v"],
                                cwd=tmp_path, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        assert "soc.v" not in result.stderr


@pytest.mark.parametrize("language", [["-x", "c", "-std=c99"], ["-x", "c++"]], ids=["C99", "C++"])
def test_driver_compiles_with_the_generated_header(language, tmp_path):
    (code,) = fences(INTEGRATION, "c")
    (tmp_path / "cimple_small.h").write_text(c_header(CONFIGS["small"]))
    compiler = next(tool for tool in find_tools() if tool.name == "g++").require()
    result = subprocess.run([compiler, *language, "-Wall", "-Wextra", "-Werror", "-pedantic", "-fsyntax-only",
                             "-I", str(tmp_path), "-"], input=code, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
