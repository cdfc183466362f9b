"""The register map."""

from hdl.config import CONFIGS
from hdl.csr import COUNTERS, CSR_ADDR_BITS, Access, Cause, register_map, registers


def test_registers_are_distinct_aligned_and_in_order():
    for config in CONFIGS.values():
        offsets = [r.offset for r in registers(config)]
        assert offsets == sorted(set(offsets))
        assert all(offset % 4 == 0 and offset < 1 << CSR_ADDR_BITS for offset in offsets)
        assert len(register_map(config)) == len(offsets)


def test_fields_lie_within_their_register_and_do_not_overlap():
    for register in registers(CONFIGS["small"]):
        used = 0
        for low, width, _ in register.fields.values():
            bits = (1 << width) - 1 << low
            assert not used & bits
            used |= bits
        assert used < 1 << 32


def test_initial_values_can_be_written():
    for config in CONFIGS.values():
        assert all(r.init & ~r.writable == 0 for r in registers(config) if r.access is Access.RW)


def test_locks_and_counters_exist():
    names = register_map(CONFIGS["edge"])
    assert all(r.locked_by is None or r.locked_by in names for r in names.values())
    assert all(counter in names and f"{counter}_HIGH" in names for counter in COUNTERS)


def test_causes_fit_their_field():
    assert max(Cause) < 256
    assert Cause.NONE == 0
