"""The register map."""

from hdl.config import CONFIGS
from hdl.csr import COUNTERS, CSR_ADDR_BITS, SEMAPHORES, Access, Cause, counters, register_map, registers

#: With all that there can be in front of the links' registers.
LINKED = CONFIGS["edge"].with_(links=2, grid_k=4, grid_n=8, spare_cols=4)


def test_registers_are_distinct_aligned_and_in_order():
    for config in (*CONFIGS.values(), LINKED):
        offsets = [r.offset for r in registers(config)]
        assert offsets == sorted(set(offsets))
        assert all(offset % 4 == 0 and offset < 1 << CSR_ADDR_BITS for offset in offsets)
        assert len(register_map(config)) == len(offsets)


def test_fields_lie_within_their_register_and_do_not_overlap():
    for register in registers(LINKED):
        used = 0
        for low, width, _ in register.fields.values():
            bits = (1 << width) - 1 << low
            assert not used & bits
            used |= bits
        assert used < 1 << 32


def test_initial_values_can_be_written():
    for config in (*CONFIGS.values(), LINKED):
        assert all(r.init & ~r.writable == 0 for r in registers(config) if r.access is Access.RW)


def test_locks_and_counters_exist():
    names = register_map(CONFIGS["edge"])
    assert all(r.locked_by is None or r.locked_by in names for r in names.values())
    assert all(counter in names and f"{counter}_HIGH" in names for counter in COUNTERS)


def test_causes_fit_their_field():
    assert max(Cause) < 256
    assert Cause.NONE == 0


def test_links_add_registers_and_change_no_other_offset():
    plain, linked = (register_map(config) for config in (CONFIGS["edge"], CONFIGS["edge"].with_(links=2)))
    assert not {name for name in plain if name.startswith(("LINK", "SEMAPHORE", "RECEIVE"))}
    assert all(linked[name].offset == register.offset for name, register in plain.items())
    assert "link" in linked["IRQ_STATUS"].fields
    assert "remote" in linked["WINDOW3_FLAGS"].fields
    assert {"LINK0_CONTROL", "LINK1_CONTROL", "LINK1_LANE_ERRORS7", f"SEMAPHORE{SEMAPHORES - 1}"} <= set(linked)


def test_counters_of_links_come_after_the_others():
    assert counters(CONFIGS["edge"]) == COUNTERS
    assert list(counters(LINKED)) == [*COUNTERS, "LINK_BUSY", "LINK_TOKEN", "LINK_MEMORY", "RECEIVE_TOKEN",
                                      "RECEIVE_WAIT"]
