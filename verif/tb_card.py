"""Chips of a card on cables that make errors, are cut, and whose ends are reset; the plan is ``verif/plans/card.md``.

After every failure the next programs run, memories included as the golden model says.
"""

import cocotb
import numpy as np

from hdl.csr import Cause
from hdl.isa import Instruction, Opcode
from hdl.link.formats import Cause as LinkCause
from hdl.link.link import LinkState
from hdl.program import Program
from hdl.topology import NEXT, partner

from .card import REMOTE, SOURCE, CardBench, Exchange, program
from .coverage import Coverage, report

coverage = Coverage("card", {
    "cause": [Cause.NONE, Cause.WATCHDOG, Cause.LINK_DOWN, Cause.REMOTE_WINDOW],
    "link cause": [LinkCause.NO_PARTNER, LinkCause.PARTNER_RESET, LinkCause.UNKNOWN_CHANNEL],
})

#: Cycles without partner after which the links of these tests are down; training takes fewer.
DOWN_AFTER = 3000

#: Rounds of random programs; Icarus takes a second for a few hundred cycles.
ROUNDS = 6 if cocotb.SIM_NAME.lower().startswith("verilator") else 1


def send(**fields: int) -> Instruction:
    return Instruction(Opcode.SEND, {"address": SOURCE, "remote_address": REMOTE, "row_bytes": 4000, "rows": 1,
                                     "port": NEXT, "post": 1, "semaphore": 1} | fields)


def recv(port: int, **fields: int) -> Instruction:
    return Instruction(Opcode.RECV, {"port": port, "semaphore": 1, "count": 1} | fields)


def simple(bench: CardBench, *instructions: Instruction) -> Program:
    return program(bench.config, bench.rng.integers(0, 256, REMOTE, np.uint8), list(instructions))


def endless(bench: CardBench, port: int = NEXT) -> Program:
    """Sends the same rows again and again."""
    return simple(bench, send(rows=60000, row_bytes=1000, port=port))


async def sending_both_ways(dut) -> tuple[CardBench, int, int]:
    """A card on which chip 0 and its next one send to each other, for a while already; that chip, and its port to
    chip 0."""
    bench = CardBench(dut)
    await bench.start(down_after=DOWN_AFTER)
    there, port = partner(bench.chips, 0, NEXT)
    programs = [simple(bench) for _ in bench.chip]
    programs[0], programs[there] = endless(bench), endless(bench, port)
    await bench.begin(programs)
    await bench.cycles(bench.random.randrange(200, 1500))
    return bench, there, port


async def recover(bench: CardBench, renew: bool = False):
    """Soft resets, new sessions if asked for; then every chip works."""
    for chip in bench.chip:
        await chip.soft_reset()
    if renew:
        await bench.renew()
    await bench.run_and_check(Exchange(bench, gemms=1, sends=2).programs)


async def link_down(bench: CardBench, number: int, cause: LinkCause, port: int = NEXT):
    """A chip's program stops because the link at a port is down."""
    outcome = await bench.chip[number].ended()
    assert outcome.cause == Cause.LINK_DOWN, outcome
    assert outcome.address == port + 256 * cause, outcome
    coverage.sample(**{"cause": outcome.cause, "link cause": cause})


@cocotb.test()
async def test_random_programs(dut):
    """All chips compute, send to their partners and pass on what they got; starts apart, memories late."""
    bench = CardBench(dut)
    await bench.start()
    for trial in range(ROUNDS):
        await bench.run_and_check(Exchange(bench, gemms=3, sends=3).programs, trial)
        coverage.sample(cause=Cause.NONE)
    for chip in bench.chip:
        for port in chip.ports:
            assert await chip.csr.read(f"LINK{port}_REPLAYS") == 0


@cocotb.test()
async def test_bit_errors(dut):
    """Errors on all cables, both ways: flits are replayed, programs do not notice."""
    bench = CardBench(dut)
    await bench.start()
    for cable in bench.cables:
        cable.set(interval=5000)
    for trial in range(ROUNDS):
        await bench.run_and_check(Exchange(bench).programs, trial)
    for chip in bench.chip:
        for port in chip.ports:
            assert await chip.csr.read(f"LINK{port}_FLITS_BAD")
            assert (await chip.csr.read_fields(f"LINK{port}_STATUS"))["state"] == LinkState.UP


@cocotb.test()
async def test_errors_are_injected(dut):
    """Through the registers, on either side, into one flit and into all for a while: as many are bad at the end that
    receives them, and programs do not notice."""
    bench = CardBench(dut)
    await bench.start()
    there, port = partner(bench.chips, 0, NEXT)
    mine = bench.chip[0].csr
    for name, csr, register in (("transmit_corrupt", bench.chip[there].csr, f"LINK{port}_FLITS_BAD"),
                                ("receive_corrupt", mine, f"LINK{NEXT}_FLITS_BAD")):
        programs = Exchange(bench, gemms=1, sends=4).programs
        await bench.begin(programs)
        before = await csr.read(register)
        await mine.write_fields(f"LINK{NEXT}_INJECT_ONCE", **{name: 1})
        await bench.cycles(200)
        assert await csr.read(register) == before + 1
        await mine.write_fields(f"LINK{NEXT}_INJECT_ALWAYS", **{name: 1})
        await bench.cycles(200)
        await mine.write_fields(f"LINK{NEXT}_INJECT_ALWAYS")
        for chip in bench.chip:
            assert (await chip.ended()).cause == Cause.NONE
        await bench.check(programs)
        assert await csr.read(register) >= before + 4


@cocotb.test()
async def test_a_window_is_refused(dut):
    """The sender stops with the address, the receiver counts, nothing is written, and its own program goes on."""
    bench = CardBench(dut)
    await bench.start()
    there, port = partner(bench.chips, 0, NEXT)
    outside = bench.random.randrange(SOURCE, REMOTE - 512) // bench.config.bus_bytes * bench.config.bus_bytes
    programs = [simple(bench) for _ in bench.chip]
    programs[0] = simple(bench, send(remote_address=outside, row_bytes=512))
    await bench.begin(programs)
    outcome = await bench.chip[0].ended()
    assert (outcome.cause, outcome.address) == (Cause.REMOTE_WINDOW, outside)
    coverage.sample(cause=outcome.cause)
    for chip in bench.chip[1:]:
        assert (await chip.ended()).cause == Cause.NONE
    csr = bench.chip[there].csr
    assert await csr.read(f"LINK{port}_REFUSED") >= 1
    assert (await csr.read_fields(f"LINK{port}_REFUSED_CAUSE"))["cause"] == Cause.REMOTE_WINDOW
    assert outside <= await csr.read64(f"LINK{port}_REFUSED_ADDRESS") < outside + 512
    assert (await bench.memories())[there][:REMOTE].tobytes() == programs[there].image()[:REMOTE].tobytes()
    assert await csr.read("SEMAPHORE1") == 0
    await recover(bench)


@cocotb.test()
async def test_a_partner_that_never_starts(dut):
    """What is sent to it is written; what is waited for from it ends with the watchdog."""
    bench = CardBench(dut)
    await bench.start(watchdog=2000)
    there, port = partner(bench.chips, 0, NEXT)
    programs = [simple(bench) for _ in bench.chip]
    programs[0] = simple(bench, send(), recv(NEXT))
    await bench.load(programs)
    await bench.chip[0].start(programs[0])
    outcome = await bench.chip[0].ended()
    assert outcome.cause == Cause.WATCHDOG
    coverage.sample(cause=outcome.cause)
    memory = (await bench.memories())[there]
    assert memory[REMOTE:REMOTE + 4000].tobytes() == programs[0].image()[SOURCE:SOURCE + 4000].tobytes()
    assert await bench.chip[there].csr.read("SEMAPHORE1") == 1
    # The program comes later than what it waits for.
    await bench.chip[0].soft_reset()
    programs = [simple(bench) for _ in bench.chip]
    programs[there] = simple(bench, recv(port))
    await bench.load(programs)
    await bench.chip[there].start(programs[there])
    assert (await bench.chip[there].ended()).cause == Cause.NONE
    await recover(bench)


@cocotb.test()
async def test_a_cable_is_cut(dut):
    """While SENDs are outstanding both ways: both ends stop, and work again in a new session."""
    bench, there, port = await sending_both_ways(dut)
    bench.cables[0].cut()
    await link_down(bench, 0, LinkCause.NO_PARTNER)
    await link_down(bench, there, LinkCause.NO_PARTNER, port)
    bench.cables[0].cut(False)
    await recover(bench, renew=True)


@cocotb.test()
async def test_a_short_cut_is_not_noticed(dut):
    """The links train again within the session; the programs only take longer."""
    bench = CardBench(dut)
    await bench.start()
    programs = Exchange(bench, gemms=1, sends=4).programs
    await bench.begin(programs)
    bench.cables[0].cut()
    await bench.cycles(1500)
    bench.cables[0].cut(False)
    for chip in bench.chip:
        assert (await chip.ended()).cause == Cause.NONE
    await bench.check(programs)
    assert await bench.chip[0].csr.read(f"LINK{NEXT}_RETRAINS") >= 1


@cocotb.test()
async def test_an_unknown_channel_is_refused(dut):
    """A flit that is right by its CRC and names a channel that there is not: counted there, cause at the sender."""
    bench = CardBench(dut)
    await bench.start()
    there, port = partner(bench.chips, 0, NEXT)
    programs = [simple(bench) for _ in bench.chip]
    programs[0] = endless(bench)
    await bench.begin(programs)
    await bench.cycles(200)
    await bench.chip[0].csr.write_fields(f"LINK{NEXT}_INJECT_ONCE", transmit_channel=1)
    await link_down(bench, 0, LinkCause.UNKNOWN_CHANNEL)
    for chip in bench.chip[1:]:
        assert (await chip.ended()).cause == Cause.NONE
    csr = bench.chip[there].csr
    assert await csr.read(f"LINK{port}_FLITS_REFUSED") == 1
    assert (await csr.read_fields(f"LINK{port}_STATUS"))["refused"] == LinkCause.UNKNOWN_CHANNEL
    await recover(bench, renew=True)


@cocotb.test()
async def test_a_chip_is_reset(dut):
    """In the middle of its program and of what its partner sends: the partner stops, both work again."""
    bench, there, _ = await sending_both_ways(dut)
    chip = bench.chip[there]
    chip.rst.value = 1
    await bench.cycles(5)
    chip.rst.value = 0
    await chip.settings(down_after=DOWN_AFTER)
    await chip.enable()
    await link_down(bench, 0, LinkCause.PARTNER_RESET)
    await recover(bench, renew=True)
    report()
