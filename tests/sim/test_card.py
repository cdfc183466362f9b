"""Cards: programs of several chips, the same call on every backend."""

import numpy as np
import pytest

from hdl.config import CONFIGS, ConfigError
from hdl.csr import Cause
from hdl.isa import Instruction, Opcode
from hdl.program import Program, ProgramError, Tensor
from hdl.topology import NEXT, PREVIOUS
from sim.card import Card, LinksDown, cables
from sim.rtl import SIMULATORS
from sim.session import BACKENDS, ProgramStopped, ProgramTimeout

from .rtl.toy_chip import toy_chip

CONFIG = CONFIGS["small"].with_(name="small_links", links=2)
INPUT, OUTPUT, ROWS, BYTES = 0x403, 0x803, 3, 45


def shift_program(chips: int, *, remote: tuple[int, int] = (OUTPUT - 3, OUTPUT + 61 + 2 * 64), rounds: int = 1,
                  receive: bool = True) -> Program:
    """Sends rows to the next chip of the ring, and waits for those of the one before."""
    send = Instruction(Opcode.SEND, {
        "address": INPUT, "remote_address": OUTPUT, "row_bytes": BYTES, "rows": ROWS, "stride": 48, "remote_stride": 64,
        "port": NEXT, "post": 1, "semaphore": 5})
    receives = [Instruction(Opcode.RECV, {"port": NEXT if chips == 2 else PREVIOUS, "semaphore": 5, "count": rounds})]
    return Program.assemble(
        CONFIG, [send] * rounds + receives * receive, entry=0, memory_bytes=0x1000, writable=(0x800, 0x900),
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
        assert {result.counters["RECEIVE_WAIT"] > 20 for result in results} == {True}
        assert not card.directory.exists()


@pytest.mark.parametrize("backend", ["golden", "verilator"])
def test_a_refused_write_names_the_chip_that_sent_it(backend):
    programs = [shift_program(2), shift_program(2, remote=(0, 0))]
    with pytest.raises(ProgramStopped, match=r"^the program of chip 0 was stopped with cause REMOTE_WINDOW \(13\) at "
                                             r"0x803$") as raised:
        Card(CONFIG, 2, backend).run(programs, random_inputs(2), watchdog=5000)
    assert (raised.value.chip, raised.value.cause, raised.value.address) == (0, Cause.REMOTE_WINDOW, OUTPUT)
