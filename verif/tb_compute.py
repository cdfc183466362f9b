"""cocotb tests of :class:`hdl.ipu.compute.Compute`; the plan is ``verif/plans/compute.md``."""

from collections import deque
from dataclasses import dataclass

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, FallingEdge, RisingEdge, Timer

from hdl.cim.array import Array
from hdl.config import Config
from hdl.ipu.compute import Compute
from hdl.ipu.decode import fields_layout
from hdl.isa import QUEUES, Instruction, Opcode, illegal_fields
from sim.golden import window
from sim.rtl import test_config

from .coverage import Coverage, report
from .layout import Codec
from .ports import ports_of
from .start import CYCLE_PS, inputs_of

CONFIG = test_config()
LATENCY = Array.latency(CONFIG)
_BODY = Codec(fields_layout(Opcode.GEMM))

GEMMS = Coverage("compute", {
    "step": ["issued", "skipped", "writes zeros", "kept", "kept and empty"],
    "padding": ["left", "right", "top", "bottom", "end of the window"],
    "pieces": ["1", "2", "more"],
    "pieces_to_planes": ["fewer", "as many", "more"],
    "vector_rows": ["1", "more"],
    "begins": ["at the first tap", "within a tap", "within a row of taps"],
    "wraps": [True],
    "ends": ["with a vector", "with nothing"],
})


def draw_window(config: Config, rng: np.random.Generator) -> dict[str, int]:
    """A random window over a random image that lies somewhere in the buffer, maybe around its end."""
    def draw(low: int, high: int) -> int:
        return int(rng.integers(low, high + 1))

    line = config.line_bytes
    pixel = draw(1, max(1, min(3 * line, config.act_bytes // 4)))
    pitch = pixel * draw(1, 5)
    rows = draw(1, 4)
    kernel, dilation, stride = draw(1, 3), draw(1, 2), draw(1, 2)
    joined = dilation == 1 and rng.random() < 0.5  # the taps of a row are one
    taps = 1 if joined else kernel
    first_tap = draw(0, taps - 1) if rng.random() < 0.3 else 0
    tap_bytes = pixel * (kernel if joined else 1)
    return {
        "x": -pixel * draw(0, kernel), "y": -pitch * draw(0, kernel),
        "x_stride": stride * pixel, "y_stride": stride * pitch,
        "x_end": min(pitch, config.act_bytes), "y_end": min(rows * pitch, config.act_bytes),
        "act_address": draw(0, config.act_bytes - 1),
        "tap_bytes": tap_bytes, "taps": taps, "tap_rows": kernel,
        "tap_x_stride": dilation * pixel, "tap_y_stride": dilation * pitch,
        "first_tap": first_tap, "first_x": first_tap * dilation * pixel,
        "first_byte": draw(0, tap_bytes - 1) if rng.random() < 0.3 else 0,
    }


@dataclass(frozen=True)
class Vector:
    """A vector that must be issued; without ``line`` it only ends an instruction."""
    line: np.ndarray | None
    planes: int
    bank: int
    opens: bool
    target: dict
    act_signed: int
    zero_point: int


class ComputeBench:
    """Plays the token counters, the loader, the activation buffer and the array around the queue.

    Parameters
    ----------
    grants, commits : float
        Chance, in a cycle, that tokens are there and that the loader commits a step.
    """

    def __init__(self, dut, *, grants: float = 1.0, commits: float = 1.0):
        self.dut = dut
        self.rng = np.random.default_rng(cocotb.RANDOM_SEED)
        self.component = Compute(CONFIG)
        self.component._MustUse__silence = True  # it is here for its signature
        self.ports = ports_of(dut, self.component.signature)
        self.grants, self.commits = grants, commits
        self.buffer = self.rng.integers(0, 256, CONFIG.act_bytes, dtype=np.uint8)
        self.commands: deque[Instruction] = deque()
        self.planes: deque[int] = deque()  # of the steps that the loader has yet to commit
        self.vectors: deque[Vector] = deque()  # to be issued
        self.finals: deque[int] = deque()  # signals to be retired
        self.issues: list[int] = []  # cycles
        self.cycle = 0
        self._planned = 0  # steps
        self._kept: tuple[int, int, bool] | None = None

    # What is to come

    def add(self, fields: dict[str, int], planes: list[int], signal: int = 0):
        """A GEMM and the planes of the steps that it takes; one that was kept before comes first, and is not named."""
        f = Instruction(Opcode.GEMM, fields, signal=tuple(q for q in QUEUES if signal >> q & 1))
        assert not illegal_fields(CONFIG, f), illegal_fields(CONFIG, f)
        steps = []
        issued_before = False
        if self._kept is not None:
            bank, count, issued_before = self._kept
            steps.append((bank, count))
        for count in planes:
            steps.append((self._planned % 2, count))
            self._planned += 1
        assert len(steps) == f["steps"]
        self.planes += planes
        self.commands.append(f)
        fresh = not f["accumulate"]
        for s, (bank, count) in enumerate(steps):
            last = s == f["steps"] - 1
            runs = bool(count or f["maximum"] or (last and fresh) or (s == 0 and issued_before))
            if runs:
                self._expect(f, s, bank, count, fresh, last)
                fresh = False
            elif last:
                self.vectors.append(Vector(None, 0, bank, False, {"final": 1, "signal": signal}, 0, 0))
            self._cover(f, s, count, runs, last)
            if last:
                self._kept = (bank, count, runs) if f["keep"] else None
        self.finals.append(signal)

    def _expect(self, f: Instruction, s: int, bank: int, count: int, fresh: bool, last: bool):
        lines = window.line(CONFIG, self.buffer, f, s)
        for v, line in enumerate(lines):
            final = last and v == len(lines) - 1
            signal = sum(1 << q for q in f.signal)
            self.vectors.append(Vector(line, max(1, count), bank, v == 0, {
                "vector": f["acc_vector"] + v, "start": int(fresh), "maximum": f["maximum"], "final": int(final),
                "signal": signal}, f["act_signed"], f["zero_point"]))

    def _cover(self, f: Instruction, s: int, count: int, runs: bool, last: bool):
        step = "skipped" if not runs else "writes zeros" if not count else "issued"
        if last and f["keep"]:
            step = "kept" if runs else "kept and empty"
        pieces = window.segments(CONFIG, f, s)
        relation = "fewer" if pieces < count else "as many" if pieces == count else "more"
        GEMMS.sample(step=step, pieces={1: "1", 2: "2"}.get(pieces, "more"),
                     pieces_to_planes=relation if runs and count else None,
                     vector_rows="1" if f["vector_rows"] == 1 else "more",
                     begins="within a tap" if f["first_byte"] else "within a row of taps" if f["first_tap"]
                     else "at the first tap",
                     ends="with nothing" if last and not runs else "with a vector" if last else None)
        end = (f["first_tap"] * f["tap_bytes"] + f["first_byte"] + (s + 1) * CONFIG.line_bytes)
        GEMMS.sample(padding="left" if f["x"] < 0 else None)
        GEMMS.sample(padding="top" if f["y"] < 0 else None)
        GEMMS.sample(padding="end of the window" if end > f["tap_bytes"] * f["taps"] * f["tap_rows"] else None)
        far_x = f["x"] + (f["vectors"] - 1) * f["x_stride"] + (f["taps"] - 1) * f["tap_x_stride"] + f["tap_bytes"]
        far_y = f["y"] + (f["vector_rows"] - 1) * f["y_stride"] + (f["tap_rows"] - 1) * f["tap_y_stride"]
        GEMMS.sample(padding="right" if far_x > f["x_end"] else None)
        GEMMS.sample(padding="bottom" if far_y >= f["y_end"] else None)
        if f["act_address"] + f["x_end"] + f["y_end"] > CONFIG.act_bytes:
            GEMMS.sample(wraps=True)

    def draw(self, *, steps: int | None = None, planes: tuple[int, ...] | None = None, **fields: int):
        """A random GEMM."""
        rng = self.rng
        vectors = int(rng.integers(1, min(CONFIG.acc_vectors, 6) + 1))
        rows = int(rng.integers(1, CONFIG.acc_vectors // vectors + 1)) if rng.random() < 0.5 else 1
        rows = min(rows, 4)
        kept = self._kept is not None
        steps = steps or int(rng.integers(1, 5))
        choices = planes or (0, 0, 1, 2, min(3, CONFIG.planes), CONFIG.planes)
        self.add({
            "steps": steps, "vectors": vectors, "vector_rows": rows,
            "acc_vector": int(rng.integers(0, CONFIG.acc_vectors - vectors * rows + 1)),
            "accumulate": int(rng.random() < 0.4), "maximum": int(rng.random() < 0.2),
            "act_signed": int(rng.integers(2)), "keep": int(rng.random() < 0.3), "zero_point": int(rng.integers(256)),
            **draw_window(CONFIG, rng), **fields,
        }, [int(p) for p in rng.choice(choices, steps - kept)], int(rng.integers(1 << len(QUEUES))))

    # What happens

    async def run(self, timeout: int = 20_000):
        """Plays until everything is issued and retired."""
        await self.reset()
        ports = self.ports
        line, retired = 0, deque([(0, 0)] * (LATENCY - 1))
        commit_bank, seen = 0, None
        while self.vectors or self.finals or self.commands or not (seen and seen["idle"]):
            assert self.cycle < timeout, f"{len(self.vectors)} vectors have not been issued after {timeout} cycles"
            await RisingEdge(self.dut.clk)
            command = self.commands[0] if self.commands else None
            commits = bool(self.planes and seen and seen["bank_free"] >> commit_bank & 1
                           and self.rng.random() < self.commits)
            granted = self.rng.random() < self.grants
            self._drive_command(command)
            ports["tokens"]["granted"].handle.value = int(granted)
            ports["commit"].handle.value = int(commits)
            ports["commit_bank"].handle.value = commit_bank
            ports["planes"].handle.value = self.planes[0] if commits else int(self.rng.integers(CONFIG.planes + 1))
            ports["read_line"].handle.value = line
            valid, signal = retired.popleft()
            ports["retired"].handle.value = valid
            ports["retired_signal"].handle.value = signal
            await FallingEdge(self.dut.clk)
            seen = {name: ports[name].read() for name in (
                "bank_free", "read", "read_address", "issue", "target", "line", "act_signed", "zero_point", "idle",
                "multiplies", "activity")}
            assert not ports["tokens"]["take"].read() or (granted and command is not None)
            assert sum(seen["activity"].values()) <= 1
            assert not seen["idle"] or not (seen["issue"]["valid"] or command)
            if ports["i_commands"]["ready"].read() and command is not None:
                self.commands.popleft()
            if commits:
                self.planes.popleft()
                commit_bank = 1 - commit_bank
            if seen["read"]:
                where = (seen["read_address"] + np.arange(CONFIG.line_bytes)) % CONFIG.act_bytes
                line = int.from_bytes(self.buffer[where].tobytes(), "little")
            retired.append((seen["target"]["final"], seen["target"]["signal"]))
            if valid:
                assert ports["tokens"]["signal"].read() == signal == self.finals.popleft()
            else:
                assert ports["tokens"]["signal"].read() == 0
            self._follow(seen)
            self.cycle += 1

    async def reset(self):
        """Starts the clock, with zeros on all inputs: a commit out of place would be an error."""
        self.dut.rst.value = 1
        for bit in (1, 0):  # Icarus evaluates combinational logic for the first time when something changes
            for name in inputs_of(self.component):
                handle = getattr(self.dut, name)
                handle.value = bit * ((1 << len(handle)) - 1)
            await Timer(1, "ps")
        Clock(self.dut.clk, CYCLE_PS, unit="ps", impl="gpi").start()
        await ClockCycles(self.dut.clk, 3)
        await FallingEdge(self.dut.clk)
        self.dut.rst.value = 0

    def _drive_command(self, command: Instruction | None):
        port = self.ports["i_commands"]
        port["valid"].handle.value = int(command is not None)
        if command is not None:
            port["payload"].handle.value = port["payload"].codec.pack({
                "opcode": int(Opcode.GEMM), "signal": sum(1 << q for q in command.signal),
                "body": _BODY.pack(command.fields)})

    def _follow(self, seen: dict):
        """Compares what is issued with what must be."""
        issue, target = seen["issue"], seen["target"]
        if not issue["valid"]:
            if target["final"]:
                empty = self.vectors.popleft()
                assert empty.line is None
                assert target["signal"] == empty.target["signal"]
            return
        self.issues.append(self.cycle)
        vector = self.vectors[0]
        assert vector.line is not None, "a vector was issued where an instruction ends with nothing"
        if issue["first"]:
            self._plane = 0
            assert seen["line"].to_bytes(CONFIG.line_bytes, "little") == vector.line.tobytes(), "the line is wrong"
            assert (seen["act_signed"], seen["zero_point"]) == (vector.act_signed, vector.zero_point)
        else:
            self._plane += 1
            assert self.issues[-2] == self.cycle - 1, "a vector was interrupted"
        last = self._plane == vector.planes - 1
        assert issue == {"valid": 1, "first": int(self._plane == 0), "last": int(last),
                         "step": int(vector.opens and self._plane == 0), "bank": vector.bank, "plane": self._plane}
        assert target["final"] == (last and vector.target["final"])
        if last:
            assert target == vector.target
            self.vectors.popleft()


@cocotb.test()
@cocotb.parametrize(chances=[(1.0, 1.0), (0.2, 1.0), (1.0, 0.1)])
async def test_random(dut, chances):
    """Random windows, steps and kept steps, while tokens or weights come late or at once."""
    bench = ComputeBench(dut, grants=chances[0], commits=chances[1])
    for _ in range(40):
        bench.draw()
    bench.draw(steps=3, keep=0)
    await bench.run()
    report()


@cocotb.test()
async def test_no_bubble(dut):
    """Planes follow one another without a bubble, across vectors, steps and instructions, where no line has more
    pieces than its step has planes."""
    bench = ComputeBench(dut)
    planes = min(3, CONFIG.planes)
    vectors = CONFIG.acc_vectors
    for _ in range(4):
        bench.add({"steps": 4, "vectors": vectors, "vector_rows": 1, "x_end": CONFIG.act_bytes,
                   "y_end": 1, "tap_bytes": 4 * CONFIG.line_bytes, "taps": 1, "tap_rows": 1, "x_stride": 3},
                  [planes] * 4)
    await bench.run()
    assert len(bench.issues) == 16 * vectors * planes == bench.issues[-1] - bench.issues[0] + 1


@cocotb.test()
async def test_pieces_per_cycle(dut):
    """A step of one plane takes a cycle per vector, or as many as its lines have pieces."""
    for pieces in (1, 2, CONFIG.line_bytes):
        bench = ComputeBench(dut)
        vectors = min(CONFIG.acc_vectors, 16)
        bench.add({"steps": 1, "vectors": vectors, "vector_rows": 1, "x_end": CONFIG.act_bytes, "y_end": 1,
                   "tap_bytes": CONFIG.line_bytes // pieces, "taps": pieces, "tap_rows": 1, "tap_x_stride": 1}, [1])
        await bench.run()
        assert bench.issues[-1] - bench.issues[0] == (vectors - 1) * pieces


@cocotb.test()
async def test_halt(dut):
    """While halted no instruction takes tokens and no step is taken."""
    bench = ComputeBench(dut)
    bench.draw(keep=0)
    await bench.reset()
    dut.halt.value = 1
    bench._drive_command(bench.commands[0])
    bench.ports["tokens"]["granted"].handle.value = 1
    for _ in range(20):
        await FallingEdge(dut.clk)
        assert not bench.ports["tokens"]["take"].read()
        assert not bench.ports["issue"].read()["valid"]
