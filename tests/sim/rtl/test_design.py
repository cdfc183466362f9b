import functools

import pytest

from hdl.config import CONFIGS
from hdl.verilog import Generated
from sim.rtl import generated

from .toy import Toy

CONFIG = CONFIGS["small"]


@pytest.fixture(autouse=True)
def build_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("CIMPLE_BUILD_DIR", str(tmp_path))
    return tmp_path


class Counted:
    """Counts how often a component is made."""
    calls = 0


def make(config, width=8):
    Counted.calls += 1
    return Toy(width)


def test_a_function_is_called_once(build_directory):
    Counted.calls = 0
    first = generated(make, CONFIG, name="toy")
    second = generated(make, CONFIG, name="toy")
    assert first == second
    assert Counted.calls == 1
    assert first.ports == {"clk": ("input", 1), "rst": ("input", 1), "i_value": ("input", 8), "o_total": ("output", 8)}
    assert [file.suffix for file in (build_directory / "verilog").iterdir()] == [".json"]


def test_what_is_bound_to_a_function_counts():
    assert generated(functools.partial(make, width=4), CONFIG, name="toy").ports["i_value"] == ("input", 4)
    assert generated(functools.partial(make, width=5), CONFIG, name="toy").ports["i_value"] == ("input", 5)
    for width in (6, 7):
        assert generated(lambda config: Toy(width), CONFIG, name="toy").ports["i_value"] == ("input", width)  # noqa: B023


def test_configuration_name_and_view_count():
    Counted.calls = 0
    for config, name, view in ((CONFIG, "toy", "generic"), (CONFIGS["tiny"], "toy", "generic"),
                               (CONFIG, "a", "generic"), (CONFIG, "toy", "simulation")):
        assert generated(make, config, name=name, view=view).name == name
    assert Counted.calls == 4


def test_what_cannot_be_described_is_made_every_time():
    Counted.calls = 0
    thing = object()

    def bound(config):
        assert thing
        return make(config)

    for _ in range(2):
        generated(bound, CONFIG, name="toy")
    assert Counted.calls == 2


def test_verilog_and_components_are_taken_as_they_are():
    text = Generated("top", "module top; endmodule", {})
    assert generated(text, CONFIG) is text
    assert generated(Toy(3), CONFIG).name == "toy"


def test_a_function_needs_a_name():
    with pytest.raises(ValueError, match=r"^name must be given with a function that makes the component$"):
        generated(make, CONFIG)
