"""Which benches are chosen."""

from verif import benches


def test_a_bench_brings_those_that_are_named_after_it():
    assert {bench.name for bench, _ in benches.cases("verilator", "link")} == {"link", "link_reference"}
    assert {bench.name for bench, _ in benches.cases("icarus", "cbist")} == {"cbist", "cbist_gates"}
