"""The bench of the link, on a narrow one and with little payload: every figure that it prints."""

import json

import pytest

from bench import link
from hdl.config import configuration
from hdl.link.link import Link
from hdl.link.parameters import LinkParameters
from sim.rtl import build
from sim.rtl.design import generated
from sim.rtl.link_pair import SOURCES, link_pair


@pytest.fixture
def narrow(monkeypatch):
    """Four lanes of 32 bits, with credit for the round trip of their longer flits."""
    parameters = LinkParameters(lanes=4, lane_bits=32, receive_beats=128)

    def links():
        config = configuration("small")
        made = link_pair(generated(Link(parameters), config, name="link"), parameters)
        return build(made, config, extra_sources=SOURCES), parameters

    monkeypatch.setattr(link, "links", links)
    monkeypatch.setattr(link, "RATES", (0, 1e-4))
    monkeypatch.setattr(link, "GOALS", {0: 0.94})
    monkeypatch.setattr("sys.argv", ["link", "--bytes", "200000", "--bad-flits", "20"])


def test_every_figure_is_printed(narrow, capsys):
    link.main()
    lines = capsys.readouterr().out.splitlines()
    last = json.loads(lines[-1])
    detail = last["detail"]
    assert last["value"] == detail["efficiency"]["0e+00"] == pytest.approx(23 / 24 * 1020 / 1021, abs=1e-3)
    assert 0.3 < detail["efficiency"]["1e-04"] < 0.9
    assert detail["bad_flits"]["1e-04"] >= 20
    assert detail["wrong_beats"] == 0
    # A flit is waited for and sent, 9 cycles are independent of it; a skip word, and the second beat of a write.
    assert detail["latency_without_header"] == 2 * 12 + 9 + 1
    assert detail["latency"] == 2 * 12 + 9 + 2
    recovery = detail["recovery_cycles"]
    assert recovery["burst of 64 cycles"] < recovery["burst of 2000 cycles"] < recovery["death of a lane"]
    assert all(name in "\n".join(lines) for name in ("OMI DLx", "latency of a write", "recovery from cut"))
