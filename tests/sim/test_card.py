"""Cards: programs of several chips, the same call on every backend."""

import numpy as np
import pytest

from hdl.config import CONFIGS, ConfigError
from hdl.csr import Cause
from hdl.isa import Instruction, Opcode
from hdl.link.link import LinkState
from hdl.program import Program, ProgramError, Tensor
from hdl.topology import NEXT, PREVIOUS
from sim.card import Card, LinksDown, cables, check_links
from sim.rtl.harness import End
from sim.session import BACKENDS, ChipMismatch, ProgramStopped, ProgramTimeout

from .rtl.toy_chip import toy_chip

CONFIG = CONFIGS["tiny"].with_(name="tiny_card", links=2, link_lanes=1)
INPUT, OUTPUT, ROWS, BYTES = 0x403, 0x803, 3, 45


def shift_program(chips: int, *, remote: tuple[int, int] = (OUTPUT, OUTPUT + ROWS * 64)) -> Program:
    """Sends rows to the next chip of the ring, and waits for those of the one before."""
    send = Instruction(Opcode.SEND, {
        "address": INPUT, "remote_address": OUTPUT, "row_bytes": BYTES, "rows": ROWS, "stride": 48, "remote_stride": 64,
        "port": NEXT, "post": 1, "semaphore": 5})
    receive = Instruction(Opcode.RECV, {"port": NEXT if chips == 2 else PREVIOUS, "semaphore": 5, "count": 1})
    return Program.assemble(
        CONFIG, [send, receive], entry=0, memory_bytes=0x1000, writable=(0x800, 0x900),
        remote=remote, inputs={"x": Tensor(INPUT, (ROWS, BYTES), "uint8", 48)},
        outputs={"y": Tensor(OUTPUT, (ROWS, BYTES), "uint8", 64)})


def random_inputs(chips: int) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(chips)
    return [{"x": rng.integers(0, 256, (ROWS, BYTES), np.uint8)} for _ in range(chips)]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("chips", [2, 4])
def test_every_chip_gets_what_the_one_before_sends(backend, chips):
    card, inputs = Card(CONFIG, chips, backend), random_inputs(chips)
    results = card.run([shift_program(chips)] * chips, inputs)
    for number, result in enumerate(results):
        assert (result.outputs["y"] == inputs[number - 1]["x"]).all()
    if backend != "golden":
        assert all(40 < result.cycles < 2000 for result in results)
        assert all(result.counters["RECEIVE_WAIT"] > 20 for result in results)
        assert not card.directory.exists()


@pytest.mark.parametrize("backend", ["golden", "verilator"])
def test_a_refused_write_names_the_chip_that_sent_it(backend):
    programs = [shift_program(2), shift_program(2, remote=(0, 0))]
    with pytest.raises(ProgramStopped, match=r"^the program of chip 0 was stopped with cause REMOTE_WINDOW \(13\) at "
                                             r"0x803$") as raised:
        Card(CONFIG, 2, backend).run(programs, random_inputs(2), watchdog=5000)
    assert (raised.value.chip, raised.value.cause, raised.value.address) == (0, Cause.REMOTE_WINDOW, OUTPUT)


@pytest.mark.parametrize("backend", ["golden", "verilator"])
def test_the_chip_that_waits_in_vain_is_not_the_reason(backend):
    illegal = Program(CONFIG.name, CONFIG.hash, 0, 1, ((0, bytes(64)),), 0x1000, inputs=shift_program(2).inputs,
                      writable=(0x800, 0x900), remote=(0x800, 0x900))
    with pytest.raises(ProgramStopped, match=r"^the program of chip 1 was stopped with cause ILLEGAL_OPCODE \(1\) at "):
        Card(CONFIG, 2, backend).run([shift_program(2), illegal], random_inputs(2))


def test_programs_that_do_not_end_are_given_up():
    waiting = Program.assemble(CONFIG, [Instruction(Opcode.RECV, {"port": 0, "semaphore": 1, "count": 1})], entry=0,
                               memory_bytes=0x1000)
    with pytest.raises(ProgramTimeout, match=r"^the programs have not ended after max_cycles = 2000 cycles$"):
        Card(CONFIG, 2, "verilator").run([waiting, waiting], max_cycles=2000)


def test_a_card_of_one_chip_is_a_chip():
    alone = Program.assemble(CONFIG, [], entry=0, memory_bytes=0x1000)
    assert [result.outputs for result in Card(CONFIG, 1).run([alone])] == [{}]


def test_chips_of_another_configuration_are_refused():
    other = toy_chip(CONFIG.with_(acc_vectors=32))
    with pytest.raises(ChipMismatch, match=r"^the simulated chip's register CONFIG_HASH must be 0x"):
        Card(CONFIG, 1, "icarus", design=other).run([Program.assemble(CONFIG, [], entry=0, memory_bytes=0x1000)])


def test_cables():
    assert cables(1) == []
    assert cables(2) == [((0, NEXT), (1, NEXT))]
    assert cables(4) == [((0, NEXT), (1, PREVIOUS)), ((0, PREVIOUS), (3, NEXT)), ((1, NEXT), (2, PREVIOUS)),
                         ((2, NEXT), (3, PREVIOUS))]


def test_what_cannot_be_a_card():
    with pytest.raises(ValueError, match=r"^the backend must be one of golden, verilator, icarus, not 'vcs'$"):
        Card(CONFIG, 2, "vcs")
    with pytest.raises(ConfigError, match=r"^chips of a card must be 1, 2 or 4, not 3$"):
        Card(CONFIG, 3)
    with pytest.raises(ConfigError, match=r"^links must be at least 2 for a card of 4 chips, not 1$"):
        Card(CONFIG.with_(links=1), 4)
    with pytest.raises(ValueError, match=r"^programs must be one for each of the 2 chips, not 1$"):
        Card(CONFIG, 2).run([shift_program(2)])
    with pytest.raises(ValueError, match=r"^inputs must be one for each of the 2 chips, not 1$"):
        Card(CONFIG, 2).run([shift_program(2)] * 2, random_inputs(1))
    with pytest.raises(ProgramError, match=r"^the program was made for configuration .tiny_card."):
        Card(CONFIGS["tiny"].with_(links=1), 2).run([shift_program(2)] * 2, random_inputs(2))


def test_links_that_stay_down_are_named():
    with pytest.raises(LinksDown, match=r"^the links of the card must be up before programs start, port 1 of chip 2 is "
                                        r"TRAINING$"):
        check_links([End(0, 0), End(2, 1)], [LinkState.UP, LinkState.TRAINING])
