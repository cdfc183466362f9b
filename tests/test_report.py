import json

from bench.report import report


def test_the_last_line_is_the_figure(capsys):
    report("sim-speed", 61234.5, "cycles/s", ">= 50000", {"generic": 7000}, [("simulation", 61234), ("generic", 7000)],
           ("view", "cycles/s"))
    *table, last = capsys.readouterr().out.splitlines()
    assert json.loads(last) == {"name": "sim-speed", "value": 61234.5, "unit": "cycles/s", "goal": ">= 50000",
                                "detail": {"generic": 7000}}
    assert "61234.5 cycles/s (goal >= 50000)" in table[0]
    assert any("generic" in line for line in table)
