"""Chip: random programs against the golden model on a memory with random traffic, and everything that can go wrong.

After every fault the same is asked: the cause and the address, the interrupt, memory outside of the output untouched,
and that after a soft reset the next program runs as if nothing had been.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles, RisingEdge
from cocotbext.axi import AxiBus, AxiRam, AxiResp

from hdl.config import ADDR_BITS, INSTRUCTION_BYTES, QUEUE_DEPTH
from hdl.csr import COUNTERS, ID_VALUE, Cause
from hdl.isa import (
    Instruction,
    Opcode,
    OutputFormat,
    Queue,
    ResidualFormat,
    format_range,
    opcodes,
    parameter_entries,
)
from sim.rtl import test_config

from .chip_bench import ChipBench, Outcome
from .coverage import Coverage, report
from .instructions import changes, encoded, legal
from .programs import Builder, Draft, Image, RandomProgram, Run, Window, binary32, bursts, simple_program

FAST = cocotb.SIM_NAME.lower().startswith("verilator")

#: DMA channels.
CHANNELS = ["fetch", "weights", "load", "residual", "write"]

#: ID of the requests for residuals on the bus.
RESIDUAL_ID = 3

#: Error responses to try.
ERRORS = [AxiResp.SLVERR, AxiResp.DECERR]

_INSTRUCTIONS = Coverage("chip.instruction", {
    "opcode": list(opcodes(test_config())), "waits": range(8), "signals": range(8), "releases": range(8),
    "gemm_steps": [1, 2, 3, 4], "gemm_vectors": ["one", "some", "all"], "gemm_rows": ["one", "some"],
    "window": ["one tap", "row of taps", "column of taps", "rows of taps"], "begins": ["first byte", "within"],
    "accumulate": [0, 1], "maximum": [0, 1], "keep": [0, 1], "act_signed": [0, 1],
    "format": list(OutputFormat), "channels": ["one", "odd", "even", "all"], "table": [0, 1, 2],
    "residual": list(ResidualFormat), "store_rows": ["over", "tight", "apart"],
    "load_rows": ["one", "tight", "apart", "over"], "load_blocks": ["one", "some"], "aligned": [False, True],
}, crosses={"waits_of": ("opcode", "waits"), "lanes": ("accumulate", "act_signed"), "sums": ("accumulate", "maximum"),
            "stored": ("format", "channels"), "looked_up": ("format", "table"), "added": ("format", "residual"),
            "placed": ("opcode", "aligned")},
    impossible={
        "looked_up": [(OutputFormat.INT32, 1), (OutputFormat.INT32, 2)],
        "added": [(OutputFormat.INT32, ResidualFormat.INT8), (OutputFormat.INT32, ResidualFormat.UINT8)],
        "placed": [*((opcode, False) for opcode in (Opcode.LOAD_WEIGHTS, Opcode.LOAD_PARAMETERS, Opcode.LOAD_TABLE)),
                   (Opcode.GEMM, False), (Opcode.GEMM, True)]})

#: The self-test's own cause is that of ``tb_bist``, those of the links are ``tb_transport``'s.
_STOPS = Coverage("chip.stop", {"cause": [cause for cause in Cause if cause < Cause.BIST_RUNNING],
                                "moment": ["soft reset", "hard reset", "hung"]})

_BURSTS = Coverage("chip.burst", {
    "channel": CHANNELS, "beats": ["1", "2 to 63", "64"], "begins_page": [False, True],
    "ends_page": [False, True],
}, crosses={"shape": ("channel", "beats")},
    impossible={"shape": [("fetch", "1"), *((channel, "64") for channel in ("fetch", "residual", "write"))]})


def sample(image: Image):
    """Notes what a program exercises."""
    config = image.config
    for f in image.instructions:
        seen: dict = {"opcode": f.opcode, "waits": sum(1 << q for q in f.wait),
                      "signals": sum(1 << q for q in f.signal)}
        if "address" in f.fields:
            seen["aligned"] = f["address"] % config.bus_bytes == 0
        match f.opcode:
            case Opcode.GEMM:
                seen |= _gemm_bins(image, f)
            case Opcode.STORE:
                seen |= _store_bins(image, f)
            case Opcode.LOAD_ACTIVATIONS:
                seen["load_rows"] = "one" if f["rows"] == 1 else _rows_bin(f["stride"], f["row_bytes"])
                seen["load_blocks"] = "one" if f["blocks"] == 1 else "some"
        _INSTRUCTIONS.sample(**seen)
    for run in image.runs():
        for address, beats in bursts(config, run):
            _BURSTS.sample(channel=run.channel, beats="1" if beats == 1 else "64" if beats == 64 else "2 to 63",
                           begins_page=address % 4096 == 0, ends_page=(address + beats * config.bus_bytes) % 4096 == 0)


def _rows_bin(stride: int, size: int) -> str:
    return "over" if stride < size else "tight" if stride == size else "apart"


def _gemm_bins(image: Image, f: Instruction) -> dict:
    vectors = f["vectors"] * f["vector_rows"]
    taps = {(False, False): "one tap", (True, False): "row of taps", (False, True): "column of taps"}
    return {"gemm_steps": f["steps"], "accumulate": f["accumulate"], "maximum": f["maximum"], "keep": f["keep"],
            "act_signed": f["act_signed"],
            "gemm_vectors": "one" if vectors == 1 else "all" if vectors == image.config.acc_vectors else "some",
            "gemm_rows": "one" if f["vector_rows"] == 1 else "some",
            "window": taps.get((f["taps"] > 1, f["tap_rows"] > 1), "rows of taps"),
            "begins": "within" if f["first_tap"] or f["first_byte"] else "first byte"}


def _store_bins(image: Image, f: Instruction) -> dict:
    channels = f["channels"]
    seen = {"format": OutputFormat(f["format"]), "table": f["table"], "residual": ResidualFormat(f["residual"]),
            "releases": f["release"],
            "channels": "one" if channels == 1 else "all" if channels == image.config.out_cols
            else "odd" if channels % 2 else "even"}
    if f["vectors"] > 1:
        seen["store_rows"] = _rows_bin(f["stride"], channels * (4 if f["format"] == OutputFormat.INT32 else 1))
    return seen


def random_image(bench: ChipBench, *, gemms: int | None = None, base: int | None = None) -> Image:
    """A random program, anywhere in the address space."""
    rng = bench.rng
    gemms = int(rng.integers(1, 5 if FAST else 3)) if gemms is None else gemms
    size = 1 << 15
    base = int(rng.choice([0, (1 << 32) - size // 2, (1 << ADDR_BITS) - size])) if base is None else base
    image = RandomProgram(bench.config, rng, gemms=gemms, memory_bytes=size).finish(base)
    sample(image)
    return image


def small_image(bench: ChipBench, **options) -> Image:
    """A small program; it uses every channel unless its results are int32."""
    return simple_program(bench.config, bench.rng, **options).finish()


def image_with(bench: ChipBench, channel: str) -> Image:
    """A program that uses a channel: a random one on a fast simulator."""
    image = random_image(bench) if FAST else small_image(bench)
    while not channel_runs(image, channel):
        image = random_image(bench)
    return image


async def stopped(bench: ChipBench, image: Image, cause: Cause, address: int, *, watchdog: int = 2000) -> Outcome:
    """Runs a program that must be stopped, and another one after it."""
    outcome = await bench.run(image, watchdog=watchdog)
    bench.check_stopped(image, outcome, cause, address)
    _STOPS.sample(cause=outcome.cause)
    await bench.recover(small_image(bench))
    return outcome


# Programs that complete


@cocotb.test()
@cocotb.parametrize(stall=[0, 0.2, 0.7] if FAST else [0, 0.4], mixing=[0, 0.4])
async def test_random_programs(dut, stall, mixing):
    """Memory is right everywhere, also outside of the output, and so are the counters that do not depend on time;
    whichever columns are repaired."""
    bench = await ChipBench.start(dut)
    bench.memory.mixing = mixing
    if stall:
        bench.registers.stall(bench.memory.rng, stall / 2)
    for _ in range(10 if FAST else 1):
        bench.memory.stall(stall, int(bench.rng.choice([1, 5, 30])))
        await bench.repair()
        _, execution = await bench.run_and_check(random_image(bench))
        _STOPS.sample(cause=execution.cause)
    report()


@cocotb.test()
async def test_the_independent_ram_holds_the_same(dut):
    """Nothing between chip and result is ours: the memory is the agents' own, unchanged."""
    bench = await ChipBench.start(dut, memory=False)
    ram = AxiRam(AxiBus.from_prefix(dut, "m_axi"), dut.clk, dut.rst, size=1 << 15)
    for _ in range(6 if FAST else 1):
        image = random_image(bench, base=0)
        ram.write(0, image.memory.tobytes())
        await bench.set_windows(image.windows)
        await bench.registers.write64("PROGRAM_ADDRESS", image.entry)
        await bench.registers.write("PROGRAM_COUNT", image.count)
        await bench.registers.set_fields("IRQ_ENABLE", done=1, error=1)
        await bench.go()
        outcome = await bench.ended()
        assert outcome.done, outcome
        memory = np.frombuffer(ram.read(0, 1 << 15), np.uint8)
        assert not image.wrong(memory, image.execute()).size


@cocotb.test()
async def test_programs_follow_one_another_without_a_reset(dut):
    bench = await ChipBench.start(dut)
    for _ in range(4 if FAST else 2):
        image = small_image(bench, output_format=OutputFormat(int(bench.rng.integers(3))))
        for _ in range(2):
            await bench.run_and_check(image)


@cocotb.test()
async def test_a_program_of_no_instructions_completes(dut):
    bench = await ChipBench.start(dut)
    image = Builder(bench.config, bench.rng, 1 << 13).finish()
    outcome, _ = await bench.run_and_check(image)
    assert outcome.counters["CYCLES"] < 4
    assert not bench.rules.counts["ar"]


@cocotb.test()
async def test_loads_run_beside_the_gemm(dut):
    """Cycles with a weight word and cycles with a plane are together more than all cycles: many were both."""
    bench = await ChipBench.start(dut)
    config = bench.config
    b = Builder(config, bench.rng, 1 << 16)
    steps = 16 if config.max_step_beats > 64 else 64
    b.load_activations(0, min(config.acc_vectors * config.line_bytes, config.act_bytes))
    step = [b.step() for _ in range(steps)]
    vectors = min(config.acc_vectors, max(4, len(step[0]) // config.bus_bytes // config.planes))
    b.load_weights(step)
    b.product(steps=steps, vectors=vectors, vector_stride=1, acc_vector=0)
    outcome, _ = await bench.run_and_check(b.finish())
    counters = outcome.counters
    both = counters["WEIGHT_BEATS"] + counters["ARRAY_BUSY"] - counters["CYCLES"]
    least = min(counters["WEIGHT_BEATS"], counters["ARRAY_BUSY"])
    cocotb.log.info("%d of %d cycles had a weight word and a plane", both, counters["CYCLES"])
    assert both > 0.3 * least, f"only {both} of {least} cycles overlap: {counters}"


@cocotb.test()
async def test_skipped_steps_keep_their_tokens(dut):
    """An instruction whose only step is skipped ends just when the one before it does; both give their tokens."""
    bench = await ChipBench.start(dut)
    config = bench.config
    line = config.line_bytes
    for vectors in (1, 2) if FAST else (1,):
        b = Builder(config, bench.rng, 1 << 15)
        b.load_activations(0, line)
        b.load_weights([b.step()])
        b.product(steps=1, vectors=config.acc_vectors, acc_vector=0)
        b.load_weights([b.step(), b.step(0)])
        b.load_activations(line, config.act_bytes - line)  # both steps come before this
        b.product(steps=1, vectors=vectors, line=1, acc_vector=0)
        b.product(steps=1, vectors=1, line=1, acc_vector=vectors, accumulate=1)
        for vector in (0, vectors):
            b.store(address=b.pool + vector * 1024, stride=0, vectors=1, channels=config.out_cols, acc_vector=vector,
                    channel=0, format=OutputFormat.INT32)
        await bench.run_and_check(b.finish(), watchdog=1000)


@cocotb.test()
async def test_an_empty_gemm_writes_zeros(dut):
    """All steps empty: nothing is multiplied, but a sum that begins is zero and one that goes on is kept."""
    bench = await ChipBench.start(dut)
    config = bench.config
    b = Builder(config, bench.rng, 1 << 15)
    b.load_activations(0, config.line_bytes)
    b.load_weights([b.step(), *(b.step(0) for _ in range(5))])
    b.product(steps=1, vectors=config.acc_vectors, acc_vector=0)
    b.product(steps=3, vectors=2, acc_vector=0)
    b.product(steps=2, vectors=2, acc_vector=2, accumulate=1)
    b.store(address=b.pool, stride=512, vectors=4, channels=config.out_cols, acc_vector=0, channel=0,
            format=OutputFormat.INT32)
    image = b.finish()
    _, execution = await bench.run_and_check(image)
    pool = len(image.memory) // 2
    assert not execution.memory[pool:pool + 4 * config.out_cols].any()


@cocotb.test()
async def test_a_step_that_is_kept_is_used_again(dut):
    """By any number of instructions, with planes and without, while others follow; weights are loaded once."""
    bench = await ChipBench.start(dut)
    config = bench.config
    for planes in (0, 1, config.planes):
        b = Builder(config, bench.rng, 1 << 15)
        b.load_activations(0, config.act_bytes)
        b.load_weights([b.step(), b.step(planes, full=planes > 0), b.step(), b.step(planes)])
        b.product(steps=2, vectors=2, vector_stride=1, acc_vector=0, keep=1)
        b.product(steps=1, vectors=1, line=1, acc_vector=0, accumulate=1, keep=1)
        b.product(steps=1, vectors=config.acc_vectors - 2, line=2, acc_vector=2, keep=1)
        b.product(steps=2, vectors=1, line=3, acc_vector=1, accumulate=1, keep=1)
        b.product(steps=2, vectors=1, line=3, acc_vector=1, accumulate=1)
        b.store(address=b.pool, stride=512, vectors=config.acc_vectors, channels=config.out_cols, acc_vector=0,
                channel=0, format=OutputFormat.INT32)
        await bench.run_and_check(b.finish(), watchdog=1000)


@cocotb.test()
async def test_overflow_is_flagged_and_cleared_by_start(dut):
    """That of the very last sum of a GEMM, and of the sums with an int32 residual."""
    bench = await ChipBench.start(dut)
    config = bench.config
    flags = []
    for largest_e, residual in ((31, False), (0, True), (0, False)):
        b = Builder(config, bench.rng, 1 << 14)
        b.load_activations(0, config.line_bytes)
        step = b.step(largest_e=0)
        if largest_e:
            step[:config.header_beats * config.bus_bytes] = 0xFF  # every column with all planes and the largest scale
            step = np.concatenate([step[:config.header_beats * config.bus_bytes],
                                   np.full((config.max_step_beats - config.header_beats) * config.bus_bytes, 0x5A,
                                           np.uint8)])
        b.load_weights([step])
        b.product(steps=1, vectors=1, acc_vector=0)  # the flag comes with the very last sum
        for end in (2 ** 31 - 1, -2 ** 31) * residual:  # whatever the sign of a sum that is not zero
            b.store(address=b.pool, vectors=1, acc_vector=0, channels=config.out_cols, format=OutputFormat.INT32,
                    residual=ResidualFormat.INT32,
                    residual_address=b.place_unaligned(np.full(config.out_cols, end, "<i4").view(np.uint8)))
        outcome, _ = await bench.run_and_check(b.finish())
        flags.append(outcome.overflow)
    assert flags == [True, True, False]


@cocotb.test()
async def test_windows_of_every_kind(dut):
    """Padding on every side, wrap-around in the buffer, lines that begin within a tap, a window in two instructions,
    steps beyond its end; sums and maxima."""
    bench = await ChipBench.start(dut)
    config = bench.config
    line, size = config.line_bytes, config.act_bytes
    for channels in (1, line - 1, line + 1) if FAST else (line - 1,):
        channels = min(channels, size // 6)
        image_window = {
            "tap_bytes": channels, "taps": 3, "tap_rows": 3, "tap_x_stride": channels, "tap_y_stride": 3 * channels,
            "x": -channels, "y": -3 * channels, "x_stride": channels, "y_stride": 3 * channels,
            "x_end": 3 * channels, "y_end": 6 * channels, "vectors": 3, "vector_rows": min(2, config.acc_vectors // 3),
            "acc_vector": 0, "act_address": size - channels, "zero_point": 0x85, "act_signed": 1}
        in_all = -(-9 * channels // line)
        first = max(1, in_all // 2)
        row, tap = divmod(first * line // channels, 3)
        rest = image_window | {"tap_rows": max(1, 3 - row), "y": (row - 1) * 3 * channels, "first_tap": tap,
                               "first_x": tap * channels, "first_byte": first * line % channels}
        b = Builder(config, bench.rng, 1 << 16)
        b.load_activations(0, size)
        for maximum in (0, 1):
            b.load_weights([b.step(2) for _ in range(in_all + 1)])
            b.gemm(**image_window, steps=first, maximum=maximum)
            if in_all > first:
                b.gemm(**rest, steps=in_all - first, accumulate=1, maximum=maximum)
            b.gemm(**image_window, steps=1, accumulate=1, maximum=maximum, first_tap=1, first_byte=channels - 1)
            b.store(address=b.pool + 1 + 4096 * maximum, stride=4 * config.out_cols, vectors=3, acc_vector=0,
                    channels=config.out_cols, channel=0, format=OutputFormat.INT32)
        await bench.run_and_check(b.finish())


@cocotb.test()
async def test_a_residual_may_be_what_was_just_stored(dut):
    """One STORE after another adds to the same bytes, which only their own queue's tokens put in order."""
    bench = await ChipBench.start(dut)
    config = bench.config
    for stall in (0, 0.5) if FAST else (0,):
        bench.memory.stall(stall)
        b = simple_program(config, bench.rng)
        first = b.drafts[-1].fields
        for n in range(6):
            b.store(**first | {"residual": 1 + n % 2, "residual_address": b.pool, "residual_stride": first["stride"],
                               "residual_multiplier": binary32(0.75), "residual_zero_point": 3})
        assert all(Queue.STORE in d.wait for d in b.drafts[-6:])
        sums = {"address": b.pool + 1025, "stride": 4 * config.out_cols, "vectors": 2, "acc_vector": 0,
                "channels": config.out_cols, "format": OutputFormat.INT32}
        b.store(**sums)
        for _ in range(3):
            b.store(**sums | {"residual": ResidualFormat.INT32, "residual_address": sums["address"],
                              "residual_stride": sums["stride"]})
        assert all(Queue.STORE in d.wait for d in b.drafts[-3:])
        await bench.run_and_check(b.finish())


@cocotb.test()
@cocotb.parametrize(released=[False, True])
async def test_a_release_does_not_wait_for_memory(dut, released):
    """The GEMM that overwrites what a STORE has read runs before the answers have come; with ``signal``, after."""
    bench = await ChipBench.start(dut)
    config = bench.config
    b = Builder(config, bench.rng, 1 << 14, released=[Queue.COMPUTE] if released else [])
    b.load_activations(0, config.line_bytes)
    b.load_weights([b.step(full=True) for _ in range(2)])
    results = {"stride": 4 * config.out_cols, "vectors": 2, "channels": config.out_cols, "acc_vector": 0, "channel": 0,
               "format": OutputFormat.INT32}
    b.product(steps=1, vectors=2, acc_vector=0)
    b.store(**results, address=b.pool)
    b.product(steps=1, vectors=2, acc_vector=0)
    b.store(**results, address=b.pool + 512)
    image = b.finish()
    execution = image.execute()
    await bench.load(image)
    await bench.memory.hang("b")
    await bench.go()
    await until(dut, lambda: dut.m_axi_awvalid.value == 1)
    await ClockCycles(dut.clk, 800)
    busy = await bench.registers.read64("ARRAY_BUSY")
    bench.memory.resume()
    bench.check(image, await bench.ended())
    assert busy == (execution.array_busy if released else execution.steps[0].cycles)


# Counters


#: Cycles for which a test keeps a queue waiting, and what may be counted elsewhere meanwhile.
HOLD, SLACK = 600, 200

#: Counters of waiting.
WAITS = [name for name in COUNTERS if name.endswith(("_TOKEN", "_MEMORY", "_BUFFER"))]


async def until(dut, condition: Callable[[], bool], cycles: int = 20_000):
    """Waits for the first cycle in which something holds."""
    for _ in range(cycles):
        await RisingEdge(dut.clk)
        if condition():
            return
    raise AssertionError(f"not within {cycles} cycles")


async def held(bench: ChipBench, image: Image, requests: int | None) -> Outcome:
    """Runs a program; memory does not answer for a while, from the first request with that ID on, or, if None, from
    when all instructions are there."""
    dut = bench.dut
    left = image.count * INSTRUCTION_BYTES // bench.config.bus_bytes

    def begun() -> bool:
        nonlocal left
        if requests is not None:
            return dut.m_axi_arvalid.value == 1 and int(dut.m_axi_arid.value) == requests
        left -= dut.m_axi_rvalid.value == 1 and int(dut.m_axi_rid.value) == 0
        return left == 0

    await bench.load(image)
    await bench.go()
    await until(dut, begun)
    bench.memory.answering.clear()
    await ClockCycles(dut.clk, HOLD)
    bench.memory.answering.set()
    return await bench.ended()


def padding_only(b: Builder, steps: int, vectors: int) -> Draft:
    """A GEMM that needs no activations."""
    return b.gemm(steps=steps, vectors=vectors, acc_vector=0, tap_bytes=1)


def many_rows(b: Builder) -> Draft:
    """A load that is still under way when the last instruction has come."""
    return b.load_activations(0, min(64, b.config.act_bytes), rows=200)


def long_gemm(b: Builder):
    """Loads what it needs, and multiplies for many cycles."""
    config = b.config
    steps = 16 if config.max_step_beats > 64 else 64
    b.load_activations(0, config.line_bytes)
    b.load_weights([b.step(full=True) for _ in range(steps)])
    b.product(steps=steps, vectors=config.acc_vectors, acc_vector=0)


async def load_token(bench: ChipBench, b: Builder) -> Outcome:
    long_gemm(b)
    b.load_activations(0, bench.config.line_bytes)
    return await bench.run(b.finish())


async def load_memory(bench: ChipBench, b: Builder) -> Outcome:
    many_rows(b)
    return await held(bench, b.finish(), None)


async def load_buffer(bench: ChipBench, b: Builder) -> Outcome:
    """More steps than weight stream and banks hold, well ahead of the array; each is loaded from the same place."""
    config = bench.config
    weights = b.load_weights([b.step(full=True)])
    b.drafts.clear()
    for _ in range(24 if config.prefetch_beats > 8 * config.max_step_beats else 4):
        for _ in range(4):
            b.add(Opcode.LOAD_WEIGHTS, weights.fields)
        padding_only(b, 4, config.acc_vectors)
    return await bench.run(b.finish())


async def compute_token(bench: ChipBench, b: Builder) -> Outcome:
    b.load_weights([b.step()])
    many_rows(b)
    b.product(steps=1, vectors=1, acc_vector=0)
    return await held(bench, b.finish(), None)


async def compute_memory(bench: ChipBench, b: Builder) -> Outcome:
    b.load_weights([b.step(1) for _ in range(100)])
    padding_only(b, 100, 1)
    return await held(bench, b.finish(), None)


def stored(b: Builder, vectors: int, **fields: int) -> Draft:
    """The first accumulator vectors, all channels."""
    size = b.config.out_cols * (1 if "format" in fields else 4)
    return b.store(address=b.pool, stride=size, vectors=vectors, acc_vector=0, channels=b.config.out_cols, channel=0,
                   **fields)


async def store_token(bench: ChipBench, b: Builder) -> Outcome:
    long_gemm(b)
    stored(b, 1)
    return await bench.run(b.finish())


async def store_memory(bench: ChipBench, b: Builder) -> Outcome:
    """More words than the chip holds back, none of which is taken."""
    b.load_weights([b.step(1)])
    padding_only(b, 1, bench.config.acc_vectors)
    for _ in range(24):
        stored(b, bench.config.acc_vectors)
    await bench.load(b.finish())
    await bench.memory.hang("aw")
    await bench.go()
    await until(bench.dut, lambda: bench.dut.m_axi_awvalid.value == 1)
    await ClockCycles(bench.dut.clk, HOLD)
    bench.memory.resume()
    return await bench.ended()


async def store_residual(bench: ChipBench, b: Builder) -> Outcome:
    config = bench.config
    b.load_parameters(0, np.zeros(config.out_cols, np.int32), np.ones(config.out_cols, np.float32))
    b.load_weights([b.step(1)])
    padding_only(b, 1, config.acc_vectors)
    low, high = format_range(OutputFormat.INT8)
    residual = b.place_unaligned(bench.rng.integers(0, 256, config.acc_vectors * config.out_cols, dtype=np.uint8))
    stored(b, config.acc_vectors, format=OutputFormat.INT8, low=low, high=high, residual=1, residual_address=residual,
           residual_stride=config.out_cols, residual_multiplier=binary32(1))
    return await held(bench, b.finish(), RESIDUAL_ID)


#: What keeps a queue waiting, the counter that tells, and others that grow rightly.
CAUSES: dict[str, tuple[Callable[[ChipBench, Builder], Awaitable[Outcome]], str, set[str]]] = {
    "load_token": (load_token, "LOAD_TOKEN", set()),
    "load_memory": (load_memory, "LOAD_MEMORY", set()),
    "load_buffer": (load_buffer, "LOAD_BUFFER", set()),
    "compute_token": (compute_token, "COMPUTE_TOKEN", {"LOAD_MEMORY"}),
    "compute_memory": (compute_memory, "COMPUTE_MEMORY", set()),
    "store_token": (store_token, "STORE_TOKEN", set()),
    "store_memory": (store_memory, "STORE_MEMORY", set()),
    "store_residual": (store_residual, "STORE_MEMORY", set()),
}


@cocotb.test()
@cocotb.parametrize(cause=list(CAUSES))
async def test_each_cause_of_waiting_is_counted_as_what_it_is(dut, cause):
    """The counter of the cause has most of the cycles, no other one has many."""
    bench = await ChipBench.start(dut)
    run, name, others = CAUSES[cause]
    counters = (await run(bench, Builder(bench.config, bench.rng, 1 << 16))).counters
    assert counters[name] > HOLD // 2, f"{name} must count {cause}: {counters}"
    for other in set(WAITS) - others - {name}:
        assert counters[other] <= SLACK, f"{other} must not count {cause}: {counters}"


@cocotb.test()
async def test_counters_in_memory_are_those_of_the_registers(dut):
    """STORE_COUNTERS behind everything else: only what it does itself is missing."""
    bench = await ChipBench.start(dut)
    for stall in (0, 0.5) if FAST else (0,):
        bench.memory.stall(stall)
        b = simple_program(bench.config, bench.rng)
        store = b.drafts[-1]
        last = b.store_counters()
        store.signal.add(Queue.STORE)
        last.wait.add(Queue.STORE)
        image = b.finish()
        outcome, _ = await bench.run_and_check(image)
        in_memory = image.counters(bench.memory.content)
        assert in_memory is not None
        missing = {name: outcome.counters[name] - value for name, value in in_memory.items()}
        written = channel_runs(image, "write")[-1].beats
        assert missing.pop("WRITE_BEATS") == written
        cycles = missing.pop("CYCLES")
        assert written <= cycles <= 60 + 40 * written * (stall > 0)
        assert all(0 <= missing.pop(f"STORE_{state}") <= cycles for state in ("BUSY", "TOKEN", "MEMORY"))
        assert not any(missing.values()), f"counters of what had ended must be equal, not differ by {missing}"


@cocotb.test()
async def test_counters_go_on_from_one_store_to_the_next(dut):
    """STORE_COUNTERS before and after a GEMM, and as the only instruction."""
    bench = await ChipBench.start(dut)
    config = bench.config
    b = Builder(config, bench.rng, 1 << 14)
    b.store_counters()
    await bench.run_and_check(b.finish())
    b = Builder(config, bench.rng, 1 << 14)
    first = b.add(Opcode.STORE_COUNTERS, {"address": b.pool + 3})
    b.load_weights([b.step(full=True)])
    gemm = padding_only(b, 1, config.acc_vectors)
    b.store_counters()
    b.drafts[-1].wait.add(Queue.COMPUTE)
    gemm.signal.add(Queue.STORE)
    first.signal.add(Queue.COMPUTE)
    gemm.wait.add(Queue.STORE)
    image = b.finish()
    _, execution = await bench.run_and_check(image)
    at = first.fields["address"]
    before = dict(zip(COUNTERS, np.frombuffer(bench.memory.content[at:at + 8 * len(COUNTERS)].tobytes(), "<u8"),
                      strict=True))
    after = image.counters(bench.memory.content)
    assert after is not None
    assert (before["ARRAY_BUSY"], after["ARRAY_BUSY"]) == (0, execution.array_busy)
    assert all(before[name] <= after[name] for name in COUNTERS)
    assert before["CYCLES"] < after["CYCLES"]


# Errors on the bus


def channel_runs(image: Image, channel: str) -> list[Run]:
    return [run for run in image.runs() if run.channel == channel]


@cocotb.test()
@cocotb.parametrize(channel=CHANNELS[:-1], response=ERRORS if FAST else ERRORS[:1])
async def test_a_read_error_names_its_word(dut, channel, response):
    bench = await ChipBench.start(dut)
    for trial in range(3 if FAST else 1):
        image = image_with(bench, channel)
        bench.memory.stall(0.3 * trial)
        run = channel_runs(image, channel)[int(bench.rng.integers(len(channel_runs(image, channel))))]
        address = run.address + int(bench.rng.integers(run.beats)) * bench.config.bus_bytes
        bench.memory.read_errors[address] = response
        await stopped(bench, image, Cause.READ_ERROR, address)
    report()


@cocotb.test()
async def test_of_many_read_errors_the_first_counts(dut):
    """A burst that fails from its middle on, as a memory that ends there would."""
    bench = await ChipBench.start(dut)
    image = small_image(bench)
    run = channel_runs(image, "weights")[0]
    address, beats = next(bursts(bench.config, run))
    bus = bench.config.bus_bytes
    bench.memory.read_errors = {address + n * bus: AxiResp.SLVERR for n in range(beats // 2, beats)}
    await stopped(bench, image, Cause.READ_ERROR, address + beats // 2 * bus)


@cocotb.test()
@cocotb.parametrize(response=ERRORS)
async def test_a_write_error_names_its_burst(dut, response):
    bench = await ChipBench.start(dut)
    for trial in range(4 if FAST else 1):
        image = image_with(bench, "write")
        bench.memory.stall(0.3 * trial)
        runs = channel_runs(image, "write")
        run = runs[int(bench.rng.integers(len(runs)))]
        word = run.address + int(bench.rng.integers(run.beats)) * bench.config.bus_bytes
        bench.memory.write_errors[word] = response
        first = next(address for r in runs for address, beats in bursts(bench.config, r)
                     if address <= word < address + beats * bench.config.bus_bytes)
        await stopped(bench, image, Cause.WRITE_ERROR, first)


@cocotb.test()
@cocotb.parametrize(silent=["ar", "r", "aw", "w", "b"])
async def test_a_bus_that_never_answers_is_reported(dut, silent):
    """The watchdog ends the program and, answers or not, the error is shown; a soft reset waits for the bus."""
    bench = await ChipBench.start(dut)
    for late in (False, True) if FAST else (False,):
        image = small_image(bench)
        await bench.load(image, watchdog=150)
        if late:
            await bench.go()
            await ClockCycles(dut.clk, int(bench.rng.integers(1, 60)))
        if silent in ("r", "b"):
            bench.memory.answering.clear()
        else:
            await bench.memory.hang(silent)
        if not late:
            await bench.go()
        outcome = await bench.ended(5000)
        code = range(image.entry, image.entry + image.count * INSTRUCTION_BYTES, INSTRUCTION_BYTES)
        assert outcome.address in (0, *code)
        bench.check_stopped(image, outcome, Cause.WATCHDOG, outcome.address)
        _STOPS.sample(cause=outcome.cause, moment="hung")
        await bench.registers.set_fields("CONTROL", soft_reset=1)
        await bench.registers.set_fields("CONTROL", start=1)  # ignored: busy
        await ClockCycles(dut.clk, 1000 if FAST else 200)
        status = await bench.registers.fields("STATUS")
        assert status["busy"], "a soft reset must wait for the bus"
        bench.memory.answering.set()
        bench.memory.resume()
        await bench.recover(small_image(bench))


# Windows


def refused(image: Image, windows: list[Window]) -> list[tuple[Cause, int]]:
    """What each channel's first burst that no window allows gives; the bus decides which of them is first."""
    found = {}
    for run in image.runs():
        write = run.channel == "write"
        for address, beats in bursts(image.config, run):
            end = address + beats * image.config.bus_bytes
            if not any((w.write if write else w.read) and w.base <= address and end <= w.limit for w in windows):
                found.setdefault(run.channel, (Cause.WRITE_WINDOW if write else Cause.READ_WINDOW, address))
    return list(found.values())


async def confined(bench: ChipBench, image: Image, windows: list[Window]):
    """Runs a program with other windows than its own; it must stop at one of the bursts that they refuse."""
    expected = refused(image, windows)
    await bench.load(replace_windows(image, windows))
    await bench.go()
    outcome = await bench.ended()
    assert (outcome.cause, outcome.address) in expected, f"{outcome}, not one of {expected}"
    bench.check_stopped(image, outcome, outcome.cause, outcome.address)
    _STOPS.sample(cause=outcome.cause)
    await bench.recover(small_image(bench))


def replace_windows(image: Image, windows: list[Window]) -> Image:
    return replace(image, windows=windows)


@cocotb.test()
@cocotb.parametrize(channel=CHANNELS)
async def test_a_burst_beyond_a_window_is_refused(dut, channel):
    """The window ends at a run's end less one byte, in its middle, or before it."""
    bench = await ChipBench.start(dut)
    for kind in ("byte", "middle", "none") if FAST else ("byte",):
        image = small_image(bench)
        read, write = image.windows
        run = channel_runs(image, channel)[-1]
        end = run.address + run.beats * bench.config.bus_bytes
        limit = {"byte": end - 1, "middle": run.address + run.beats // 2 * bench.config.bus_bytes,
                 "none": run.address}[kind]
        if channel == "write":
            windows = [read, replace(write, limit=limit)]
        else:  # what lies behind the run stays allowed
            windows = [replace(read, limit=limit), Window(-(-end // 64) * 64, max(read.limit, end), read=True), write]
            if channel != "fetch":
                code = Run("fetch", image.entry, image.count * INSTRUCTION_BYTES // bench.config.bus_bytes)
                windows.append(Window(code.address, code.address + image.count * INSTRUCTION_BYTES, read=True))
        await confined(bench, image, windows)


@cocotb.test()
async def test_random_windows_confine_random_programs(dut):
    bench = await ChipBench.start(dut)
    for _ in range(10 if FAST else 1):
        image = random_image(bench)
        while True:
            windows = [replace(w, limit=w.limit - int(bench.rng.integers(0, (w.limit - w.base) // 2)))
                       for w in image.windows]
            if refused(image, windows):
                break
        order = bench.rng.permutation(len(windows))
        await confined(bench, image, [windows[i] for i in order])


@cocotb.test()
async def test_permissions_and_disabled_windows_refuse(dut):
    bench = await ChipBench.start(dut)
    image = small_image(bench)
    read, write = image.windows
    for windows in ([], [read], [read, replace(write, write=False, read=True)], [write],
                    [replace(read, read=False, write=True), write])[:5 if FAST else 1]:
        await confined(bench, image, windows)


@cocotb.test()
@cocotb.parametrize(stride=["stride", "block_stride", "store_stride", "row_stride", "residual_stride",
                            "residual_row_stride"])
async def test_strides_beyond_the_address_space_are_refused(dut, stride):
    """Addresses past 2^40 do not wrap around, not even if a window's limit says that they were allowed."""
    bench = await ChipBench.start(dut)
    bus, size = bench.config.bus_bytes, 1 << 14
    base = (1 << ADDR_BITS) - size
    name = stride.removeprefix("store_")
    outer = name == "block_stride" or name.endswith("row_stride")
    for step in ((1 << 32) - 61, size) if FAST else (size,):
        b = simple_program(bench.config, bench.rng, memory_bytes=size)
        if stride in ("stride", "block_stride"):
            b.drafts = [draft] = b.drafts[:1]
            draft.fields |= {"row_bytes": 1, "rows": 1 if outer else 2, "blocks": 2 if outer else 1}
        else:
            draft = b.drafts[-1]
            draft.fields |= {"vectors": 1 if outer else 2, "vector_rows": 2 if outer else 1}
        draft.fields[name] = step
        image = b.finish(base)
        everything = [Window(base, (1 << ADDR_BITS + 1) - 1, read=True, write=True)]
        await bench.load(image)
        await bench.set_windows(everything)
        bench.rules.windows = [(base, 1 << ADDR_BITS, True, True)]
        await bench.go()
        outcome = await bench.ended()
        residual = name.startswith("residual")
        first = base + draft.fields["residual_address" if residual else "address"]
        cause = Cause.WRITE_WINDOW if draft.opcode == Opcode.STORE and not residual else Cause.READ_WINDOW
        bench.check_stopped(image, outcome, cause, (first + step) // bus * bus)
        await bench.recover(small_image(bench))


# Programs that are wrong


def broken_record(bench: ChipBench, instruction: Instruction) -> tuple[bytes, Cause]:
    """An illegal variant of an instruction, and why it is."""
    record = bytearray(instruction.encode())
    kind = int(bench.rng.integers(4))
    if kind == 0:
        record[0] = int(bench.rng.choice([0, 5, 0x0F, 0x11, 0x22, 0x81, 0xFF]))
        return bytes(record), Cause.ILLEGAL_OPCODE
    if kind == 1:
        record[int(bench.rng.integers(3, 8))] = 1 << int(bench.rng.integers(8))
    elif kind == 2:
        record[int(bench.rng.integers(1, 3))] |= 1 << int(bench.rng.integers(3, 8))
    else:
        broken = [change for opcode, change, rules in changes(bench.config) if opcode == instruction.opcode and rules]
        fields = legal(bench.config, instruction.opcode) | broken[int(bench.rng.integers(len(broken)))]
        return encoded(instruction.opcode, fields), Cause.ILLEGAL_FIELD
    return bytes(record), Cause.ILLEGAL_FIELD


@cocotb.test()
async def test_an_illegal_instruction_anywhere_stops(dut):
    bench = await ChipBench.start(dut)
    for _ in range(8 if FAST else 2):
        b = RandomProgram(bench.config, bench.rng, gemms=2)
        records = [draft.instruction().encode() for draft in b.drafts]
        index = int(bench.rng.integers(len(records)))
        records[index], cause = broken_record(bench, b.drafts[index].instruction())
        image = b.finish(records=records)
        await stopped(bench, image, cause, image.entry + index * INSTRUCTION_BYTES)


@cocotb.test()
async def test_each_illegal_field_stops(dut):
    """Each rule of each field broken once, by an instruction that is alone; nothing is read but the program."""
    bench = await ChipBench.start(dut)
    ways: dict[tuple, list[tuple[Opcode, dict[str, int]]]] = {}
    for opcode, change, rules in changes(bench.config):
        if rules:
            ways.setdefault((opcode, *rules), []).append((opcode, change))
    chosen = bench.rng.permutation(len(ways))[:None if FAST else 4]
    for way in (list(ways.values())[i] for i in chosen):
        opcode, change = way[int(bench.rng.integers(len(way)))]
        b = Builder(bench.config, bench.rng, 1 << 13)
        b.add(opcode, {})
        image = b.finish(records=[encoded(opcode, legal(bench.config, opcode) | change)])
        outcome = await bench.run(image)
        bench.check_stopped(image, outcome, Cause.ILLEGAL_FIELD, image.entry)
        assert (bench.rules.counts["ar"], bench.rules.counts["aw"]) == (1, 0), "nothing but the program is read"
        await bench.soft_reset()
    await bench.run_and_check(small_image(bench))


@cocotb.test()
@cocotb.parametrize(kind=["short", "long", "garbage"])
async def test_a_weight_stream_that_does_not_fit_its_steps_stops(dut, kind):
    bench = await ChipBench.start(dut)
    config = bench.config
    for _ in range(6 if FAST else 1):
        b = Builder(config, bench.rng, 1 << 15)
        b.load_activations(0, config.line_bytes)
        steps = [b.step() for _ in range(2)]
        if kind == "garbage":
            steps[0][:config.header_beats * config.bus_bytes] ^= \
                bench.rng.integers(1, 256, config.header_beats * config.bus_bytes, dtype=np.uint8)
        draft = b.load_weights(steps)
        b.place(bench.rng.integers(0, 256, 99 * config.bus_bytes, dtype=np.uint8))  # what a long stream goes on with
        if kind == "short":
            draft.fields["beats"] -= int(bench.rng.integers(1, draft.fields["beats"]))
        elif kind == "long":
            draft.fields["beats"] += int(bench.rng.integers(1, 99))
        b.product(steps=2, vectors=1, acc_vector=0)
        b.store(address=b.pool, stride=0, vectors=1, channels=1, acc_vector=0, channel=0, format=OutputFormat.INT32)
        image = b.finish()
        execution = image.execute()
        if execution.cause == Cause.NONE:  # garbage may be a step of the same length
            continue
        assert execution.cause == Cause.WEIGHT_STREAM
        await stopped(bench, image, Cause.WEIGHT_STREAM, execution.address)


@cocotb.test()
async def test_a_token_that_never_comes_expires(dut):
    """The address is that of the youngest instruction dispatched: the last one, or the last that the queue holds."""
    bench = await ChipBench.start(dut)
    for waiting in (1, QUEUE_DEPTH + 4) if FAST else (1,):
        b = simple_program(bench.config, bench.rng)
        b.drafts[-1].wait.add(Queue.STORE)  # by nobody
        for _ in range(waiting - 1):
            b.drafts.append(b.drafts[-1])
        image = b.finish()
        dispatched = image.count - waiting + min(waiting, QUEUE_DEPTH)
        await stopped(bench, image, Cause.WATCHDOG, image.entry + (dispatched - 1) * INSTRUCTION_BYTES, watchdog=200)


@cocotb.test()
async def test_a_gemm_without_weights_expires(dut):
    bench = await ChipBench.start(dut)
    b = simple_program(bench.config, bench.rng)
    b.drafts = [d for d in b.drafts if d.opcode != Opcode.LOAD_WEIGHTS]
    image = b.finish()
    assert image.execute().cause == Cause.WATCHDOG
    await stopped(bench, image, Cause.WATCHDOG, image.entry + (image.count - 1) * INSTRUCTION_BYTES, watchdog=150)


@cocotb.test()
async def test_weights_that_nobody_consumes_expire(dut):
    """Two steps wait in the banks and end with the program; a third one never ends."""
    bench = await ChipBench.start(dut)
    for steps in (2, 3) if FAST else (3,):
        b = Builder(bench.config, bench.rng, 1 << 14)
        b.load_weights([b.step() for _ in range(steps)])
        image = b.finish()
        if steps == 3:
            await stopped(bench, image, Cause.WATCHDOG, image.entry, watchdog=200)
        else:
            outcome = await bench.run(image)
            assert outcome.done
            await bench.run_and_check(small_image(bench))


@cocotb.test()
async def test_without_a_watchdog_a_program_waits(dut):
    bench = await ChipBench.start(dut)
    b = simple_program(bench.config, bench.rng)
    b.drafts[-1].wait.add(Queue.STORE)
    await bench.load(b.finish(), watchdog=0)
    await bench.go()
    await bench.idle(3000 if FAST else 500)
    assert (await bench.registers.fields("STATUS")) == {"busy": 1, "done": 0, "error": 0, "overflow": 0}
    await bench.recover(small_image(bench))


@cocotb.test()
@cocotb.parametrize(target=[Queue.LOAD, Queue.STORE] if FAST else [Queue.STORE])
async def test_too_many_tokens_overflow(dut, target):
    """255 tokens of one kind are counted, one more is an error."""
    bench = await ChipBench.start(dut)
    for tokens in (255, 256) if FAST else (256,):
        b = Builder(bench.config, bench.rng, 1 << 16)
        per_beat = max(1, bench.config.bus_bytes // 8)
        draft = b.load_parameters(0, np.zeros(per_beat, np.int32), np.ones(per_beat, np.float32))
        draft.signal.add(target)
        b.drafts = [draft] * tokens
        image = b.finish()
        if tokens == 255:
            await bench.run_and_check(image)
        else:
            await stopped(bench, image, Cause.TOKEN_OVERFLOW, 8 * Queue.LOAD + target)


@cocotb.test()
async def test_tokens_of_both_kinds_are_counted_together(dut):
    """A STORE that releases and signals gives two tokens to the same counter."""
    bench = await ChipBench.start(dut)
    for stores in (127, 128) if FAST else (128,):
        b = Builder(bench.config, bench.rng, 1 << 15)
        b.load_weights([b.step(0)])
        padding_only(b, 1, 1)
        both = [stored(b, 1), stored(b, 1)]  # the first one waits for the GEMM
        for draft in both:
            draft.signal, draft.release = {Queue.LOAD}, {Queue.LOAD}
        b.drafts += both[1:] * (stores - 2)
        image = b.finish()
        if stores == 127:
            await bench.run_and_check(image)
        else:
            await stopped(bench, image, Cause.TOKEN_OVERFLOW, 8 * Queue.STORE + Queue.LOAD)


@cocotb.test()
async def test_a_multiplier_that_is_no_number_stops(dut):
    """The first entry that a result needs is named; one that no result needs does not matter, nor any to int32."""
    bench = await ChipBench.start(dut)
    config, rng = bench.config, bench.rng
    for trial in range(8 if FAST else 2):
        channels = int(rng.integers(1, config.out_cols + 1))
        entry = int(rng.integers((parameter_entries(config) - channels) // config.post_lanes + 1)) * config.post_lanes
        multiplier = np.ones(parameter_entries(config), np.float32)
        bad = rng.integers(0, len(multiplier), 3)
        multiplier[bad] = rng.choice(np.array([np.inf, -np.inf, np.nan], np.float32), 3)
        b = simple_program(config, rng, output_format=OutputFormat(trial % 3), multiplier=multiplier, channel=entry,
                           channels=channels)
        image = b.finish()
        execution = image.execute()
        if execution.cause == Cause.NONE:
            await bench.run_and_check(image)
        else:
            await stopped(bench, image, Cause.BAD_MULTIPLIER, execution.address)


@cocotb.test()
async def test_an_endless_count_is_refused_by_the_window(dut):
    """A program that would be longer than 2^32 bus words is fetched as far as it may be."""
    bench = await ChipBench.start(dut)
    for count in (1 << 29, (1 << 32) - 1) if FAST else (1 << 29,):
        image = small_image(bench)
        await bench.load(image)
        await bench.registers.write("PROGRAM_COUNT", count)
        await bench.go()
        outcome = await bench.ended()
        end = image.entry + image.count * INSTRUCTION_BYTES
        assert outcome.cause in (Cause.READ_WINDOW, Cause.ILLEGAL_OPCODE, Cause.ILLEGAL_FIELD), outcome
        assert end - 1024 <= outcome.address <= end, outcome
        await bench.recover(small_image(bench))


# Resets and commands


@cocotb.test()
async def test_a_soft_reset_at_any_moment_ends_the_program(dut):
    bench = await ChipBench.start(dut)
    for _ in range(12 if FAST else 2):
        image = random_image(bench)
        bench.memory.stall(float(bench.rng.choice([0, 0.4])))
        await bench.load(image)
        await bench.go()
        await bench.idle(int(bench.rng.integers(1, 600)))
        await bench.soft_reset()
        assert (bench.rules.reads_open, bench.rules.writes_open) == (0, 0)
        changed = bench.memory.content != image.memory
        assert not (changed & ~image.writable).any()
        outcome = await bench.outcome()
        assert (outcome.cause, outcome.address, set(outcome.counters.values())) == (Cause.NONE, 0, {0})
        assert dut.irq.value == 0, "a soft reset clears IRQ_STATUS"
        _STOPS.sample(moment="soft reset")
        await bench.run_and_check(small_image(bench))


@cocotb.test()
async def test_a_soft_reset_keeps_the_other_registers(dut):
    bench = await ChipBench.start(dut)
    image = small_image(bench)
    await bench.run_and_check(image)
    await bench.soft_reset()
    await bench.go()  # windows, address and count are still there
    bench.check(image, await bench.ended())


@cocotb.test()
async def test_a_hard_reset_at_any_moment_starts_anew(dut):
    bench = await ChipBench.start(dut)
    for _ in range(6 if FAST else 1):
        image = random_image(bench)
        bench.memory.stall(float(bench.rng.choice([0, 0.4])))
        await bench.load(image)
        await bench.go()
        await bench.idle(int(bench.rng.integers(1, 600)))
        await bench.reset()
        assert (await bench.registers.fields("STATUS")) == {"busy": 0, "done": 0, "error": 0, "overflow": 0}
        assert await bench.registers.read("PROGRAM_COUNT") == 0
        assert await bench.registers.read("WINDOW0_FLAGS") == 0
        _STOPS.sample(moment="hard reset")
        await bench.run_and_check(small_image(bench))


@cocotb.test()
async def test_start_is_ignored_while_busy_and_after_an_error(dut):
    bench = await ChipBench.start(dut)
    image = random_image(bench)
    bench.memory.stall(0.5)
    await bench.load(image)
    await bench.go()
    await bench.registers.write64("PROGRAM_ADDRESS", 0x40)
    await bench.registers.write("PROGRAM_COUNT", 99)
    await bench.registers.set_fields("CONTROL", start=1)
    bench.check(image, await bench.ended())

    image = small_image(bench)
    run = channel_runs(image, "fetch")[0]
    bench.memory.read_errors[run.address] = AxiResp.SLVERR
    bench.check_stopped(image, await bench.run(image), Cause.READ_ERROR, run.address)
    requests = bench.rules.counts["ar"]
    await bench.registers.set_fields("CONTROL", start=1)
    await ClockCycles(dut.clk, 100)
    outcome = await bench.outcome()
    assert (outcome.error, outcome.cause, bench.rules.counts["ar"]) == (True, Cause.READ_ERROR, requests)
    await bench.registers.set_fields("CONTROL", start=1, soft_reset=1)  # the reset wins
    await bench.recover(small_image(bench))


@cocotb.test()
async def test_interrupts_are_enabled_and_cleared_one_by_one(dut):
    bench = await ChipBench.start(dut)
    image = small_image(bench)
    await bench.load(image)
    await bench.registers.write("IRQ_ENABLE", 0)
    await bench.go()
    while (await bench.registers.fields("STATUS"))["busy"]:
        assert dut.irq.value == 0
    assert await bench.registers.fields("IRQ_STATUS") == {"done": 1, "error": 0, "bist": 0}
    assert dut.irq.value == 0
    await bench.registers.set_fields("IRQ_ENABLE", error=1)
    assert dut.irq.value == 0
    await bench.registers.set_fields("IRQ_ENABLE", done=1)
    assert dut.irq.value == 1
    await bench.registers.set_fields("IRQ_STATUS", error=1)
    assert dut.irq.value == 1
    await bench.registers.set_fields("IRQ_STATUS", done=1)
    assert dut.irq.value == 0
    assert await bench.registers.read("IRQ_STATUS") == 0
    bench.check(image, await bench.outcome())


@cocotb.test()
async def test_the_chip_names_itself(dut):
    bench = await ChipBench.start(dut)
    assert await bench.registers.read("ID") == ID_VALUE
    assert await bench.registers.read64("CONFIG_HASH") == bench.config.hash
    report()
