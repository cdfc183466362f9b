"""Transport: SENDs, RECVs and partners' requests between ports whose links the bench is."""

import logging
import random
from collections import deque
from collections.abc import Callable
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles, FallingEdge, RisingEdge
from cocotbext.axi import AxiResp

from hdl.config import ADDR_BITS, BURST_BOUNDARY
from hdl.csr import SEMAPHORES, WINDOWS, Cause
from hdl.ipu.activity import activity_layout
from hdl.ipu.burst_writer import word_layout
from hdl.ipu.decode import command_layout
from hdl.ipu.fault import fault_layout
from hdl.ipu.windows import windows_layout
from hdl.ipu.writer import write_run_layout
from hdl.isa import Instruction, Opcode, Queue, fields_layout, illegal_fields, queues
from hdl.link.formats import Cause as LinkCause
from hdl.transport.interface import port_state_layout
from hdl.transport.packet import MAX_BEATS, SENDS, Kind, answer_layout, header_layout
from sim.rtl import test_config

from .axi_memory import AxiMemory
from .axi_rules import AxiRules
from .coverage import Coverage, report
from .packets import Packet, Reader, Receiver, answer, cut, packets
from .start import reset, start
from .transport import TransportBlock

FAST = cocotb.SIM_NAME.lower().startswith("verilator")

CONFIG = test_config()
BUS = CONFIG.bus_bytes
PORTS = range(CONFIG.links)
MASKS = 1 << len(queues(CONFIG))

#: The memory, in pages: the first half is what programs read and write, the second what partners write.
BASE, SIZE = 1 << 20, 1 << 16
HALF = SIZE // 2

#: Cycles that nothing here takes.
PATIENCE = 20_000

_SENDS = Coverage("transport.send", {
    "port": PORTS, "rows": ["none", "one", "some"], "row": ["a byte", "within a word", "words", "packets"],
    "crosses_page": [False, True], "post": [0, 1],
    "stop": [Cause.READ_WINDOW, Cause.READ_ERROR, *(cause for cause in Cause if cause >= Cause.LINK_DOWN)]})
_PACKETS = Coverage("transport.packet", {
    "port": PORTS, "beats": ["1", "2 to 31", "32"], "cause": [
        Cause.NONE, Cause.REMOTE_WINDOW, Cause.REMOTE_ERROR, Cause.REMOTE_SEMAPHORE, Cause.REMOTE_PACKET]})

IN = ("i_send", "i_recv", "i_runs", "i_words", *(f"i_{kind}__{p}" for kind in ("requests", "answers") for p in PORTS))
OUT = tuple(f"o_{kind}__{p}" for kind in ("requests", "answers") for p in PORTS)


class TransportBench:
    """Gives beats to all streams and takes them from all, with pauses; make one per test with :meth:`start`.

    Attributes
    ----------
    todo : dict of deque
        What each input stream is still to be given.
    on : dict of functions
        What becomes of each output stream's beats.
    signals, releases : list
        Masks that the link queue has signalled and released; ``received`` those of the receive queue.
    """

    @classmethod
    async def start(cls, dut: Any, stall: float = 0) -> "TransportBench":
        await start(dut, TransportBlock(CONFIG))
        bench = cls(dut, stall)
        await bench.reset()
        return bench

    def __init__(self, dut: Any, stall: float):
        self.dut, self.stall = dut, stall
        self.random = random.Random(cocotb.RANDOM_SEED)
        self.rng = np.random.default_rng(cocotb.RANDOM_SEED)
        logging.getLogger(f"cocotb.{dut._name}").setLevel(logging.WARNING)
        self.memory = AxiMemory(dut, self.rng.integers(0, 256, SIZE, dtype=np.uint8), BASE, seed=cocotb.RANDOM_SEED)
        self.memory.stall(stall)
        self.rules = AxiRules(dut, CONFIG)
        self.todo: dict[str, deque[int]] = {name: deque() for name in IN}
        self.on: dict[str, Callable[[int], Any]] = {}
        self.signals: list[int] = []
        self.releases: list[int] = []
        self.received: list[int] = []
        self.deaf: set[str] = set()  #: outputs that nothing is taken from
        self.cycle = 0
        self._pins = {name: tuple(getattr(dut, f"{name}__{part}") for part in ("valid", "ready", "payload"))
                      for name in (*IN, *OUT)}

    async def reset(self):
        """A reset of the chip, with both links up."""
        for name in IN:
            self._pins[name][0].value = 0
            self.todo[name].clear()
        for seen in (self.signals, self.releases, self.received):
            seen.clear()
        self.dut.halt.value = self.dut.engine_reset.value = self.dut.clear.value = self.dut.full.value = 0
        self.dut.granted.value = 3
        self.dut.enable.value = self.dut.delivered.value = (1 << CONFIG.links) - 1
        self.set_windows([(BASE, BASE + HALF, 0b011), (BASE + HALF, BASE + SIZE, 0b100)])
        for port in PORTS:
            self.link(port, up=1)
        await reset(self.dut)
        cocotb.start_soon(self._run())
        cocotb.start_soon(self._watch())
        await ClockCycles(self.dut.clk, 3)  # the ports see that they are up

    async def engine_reset(self):
        """What a soft reset does, when ``sending`` has fallen."""
        await FallingEdge(self.dut.clk)
        self.dut.engine_reset.value = 1
        for name in ("i_send", "i_recv", "i_runs", "i_words"):
            self.todo[name].clear()
            self._pins[name][0].value = 0
        await FallingEdge(self.dut.clk)
        self.dut.engine_reset.value = self.dut.halt.value = 0

    def set_windows(self, windows: list[tuple[int, int, int]]):
        """First byte, first byte after it, and flags: 1 read, 2 write, 4 remote."""
        filled = windows + [(0, 0, 0)] * (WINDOWS - len(windows))
        self.dut.windows.value = windows_layout().const([
            {"base": base, "limit": limit, "read": flags & 1, "write": flags >> 1 & 1, "remote": flags >> 2}
            for base, limit, flags in filled]).as_bits()

    def link(self, port: int, *, up: int = 0, down: int = 0, cause: LinkCause = LinkCause.NONE):
        getattr(self.dut, f"states__{port}").value = port_state_layout().const(
            {"up": up, "down": down, "cause": cause}).as_bits()

    async def _run(self):
        shown: set[str] = set()
        while True:
            await FallingEdge(self.dut.clk)
            for name in OUT:
                ready = name not in self.deaf and self.random.random() >= self.stall
                self._pins[name][1].value = int(ready)
            for name in IN:
                valid, _, payload = self._pins[name]
                if name not in shown and self.todo[name] and self.random.random() >= self.stall:
                    valid.value, payload.value = 1, self.todo[name][0]
                    shown.add(name)
                elif name not in shown or not self.todo[name]:
                    valid.value = 0
                    shown.discard(name)
            await RisingEdge(self.dut.clk)
            self.cycle += 1
            for name in OUT:
                valid, ready, payload = self._pins[name]
                if valid.value == 1 and ready.value == 1:
                    self.on[name](int(payload.value))
            for name in tuple(shown):
                if self._pins[name][1].value == 1 and self.todo[name]:
                    self.todo[name].popleft()
                    shown.discard(name)

    async def _watch(self):
        dut, activity, mask = self.dut, activity_layout(), MASKS - 1
        while True:
            await RisingEdge(dut.clk)
            signal = int(dut.signal.value)
            for seen, value in ((self.signals, signal & mask), (self.received, signal >> mask.bit_length()),
                                (self.releases, int(dut.released.value))):
                if value:
                    seen.append(value)
            if self.fault(0)[0] == self.fault(1)[0] == Cause.NONE and dut.halt.value == 0:
                for queue in range(2):
                    bits = int(dut.activity.value) >> activity.size * queue & (1 << activity.size) - 1
                    assert bits.bit_count() == 1 - (int(dut.idle.value) >> queue & 1), f"queue {queue} is {bits:#b}"

    def fault(self, queue: int) -> tuple[Cause, int]:
        """Why the link queue (0) or the receive queue (1) has stopped, and the address."""
        layout = fault_layout()
        found = layout.from_bits(int(self.dut.faults.value) >> layout.size * queue & (1 << layout.size) - 1)
        return (Cause(found.cause), int(found.address)) if found.valid else (Cause.NONE, 0)

    async def until(self, condition: Callable[[], Any], patience: int = PATIENCE):
        """Waits for something that must happen."""
        for _ in range(patience):
            if condition():
                return
            await RisingEdge(self.dut.clk)
        left = {name: len(beats) for name, beats in self.todo.items() if beats}
        raise AssertionError(f"nothing happens any more; left to give: {left}")

    async def faulted(self, queue: int = 0) -> tuple[Cause, int]:
        await self.until(lambda: self.fault(queue)[0] != Cause.NONE)
        return self.fault(queue)

    async def idle(self):
        """Nothing is left to do, and nothing is given."""
        await self.until(lambda: not any(self.todo.values()) and int(self.dut.idle.value) == 3)
        await ClockCycles(self.dut.clk, 2)

    async def quiet(self):
        """After a fault or a halt: every SEND is answered, and everything on the bus that is the program's."""
        self.dut.halt.value = 1
        await self.until(lambda: self.dut.sending.value == 0 and not self.rules.reads_open)

    def bytes_at(self, address: int, count: int) -> bytes:
        return self.memory.content[address - BASE:address - BASE + count].tobytes()

    def give(self, f: Instruction):
        """An instruction for its queue."""
        assert not illegal_fields(CONFIG, f)
        queue = f.queue
        self.todo[{Queue.LINK: "i_send", Queue.RECEIVE: "i_recv"}[queue]].append(command_layout(CONFIG, queue).const({
            "opcode": f.opcode, "wait": 0, "signal": sum(1 << q for q in f.signal),
            "body": fields_layout(f.opcode).const({name: int(v) for name, v in f.fields.items()}).as_bits()}).as_bits())

    def send(self, *, port: int | None = None, signal: int | None = None, base: int = BASE, size: int = HALF,
             to: int = BASE + HALF, room: int = HALF, **fields: int) -> Instruction:
        """Gives a SEND of random shape out of ``size`` bytes at ``base`` into ``room`` bytes at ``to``."""
        draw = self.random.randint
        rows = fields.get("rows", self.random.choice((0, 1, 1, 2, 3, 5)))
        row_bytes = fields.get("row_bytes", self.random.choice((1, draw(1, BUS), draw(1, 4 * BUS),
                                                                draw(1, 2 * MAX_BEATS * BUS))))
        stride = self.random.choice((0, row_bytes, row_bytes + draw(0, 2 * BUS), draw(0, 2 * row_bytes)))
        remote_stride = stride + BUS * draw(0, 3)
        address = base + draw(0, size - (rows * stride + row_bytes) - 1)
        last = room - (rows * remote_stride + row_bytes) - 2 * BUS
        remote = to + address % BUS + BUS * draw(0, last // BUS)
        before_page = remote // BURST_BOUNDARY * BURST_BOUNDARY - BUS * draw(1, 4) + address % BUS
        if before_page >= to and self.random.random() < 0.3:
            remote = before_page
        f = {"address": address, "remote_address": remote, "row_bytes": row_bytes, "rows": rows, "stride": stride,
             "remote_stride": remote_stride, "port": draw(0, CONFIG.links - 1) if port is None else port,
             "post": draw(0, 1), "semaphore": draw(0, SEMAPHORES - 1), "release": draw(0, MASKS - 1)} | fields
        mask = draw(1, MASKS - 1) if signal is None else signal
        made = Instruction(Opcode.SEND, f, signal=tuple(q for q in queues(CONFIG) if mask >> q & 1))
        self.give(made)
        _SENDS.sample(
            port=f["port"], rows=("none", "one", "some")[min(rows, 2)], post=f["post"],
            row="a byte" if row_bytes == 1 else "within a word" if row_bytes <= BUS
            else "words" if row_bytes <= MAX_BEATS * BUS else "packets",
            crosses_page=rows > 0 and remote // BURST_BOUNDARY != (remote + row_bytes - 1) // BURST_BOUNDARY)
        return made

    def recv(self, semaphore: int, count: int, *, port: int = 0, signal: tuple[Queue, ...] = (Queue.LOAD,)):
        self.give(Instruction(Opcode.RECV, {"port": port, "semaphore": semaphore, "count": count}, signal=signal))

    def semaphores(self) -> list[int]:
        value = int(self.dut.values.value)
        return [value >> 16 * number & 0xFFFF for number in range(SEMAPHORES)]


class Partner:
    """The other end of a port, which answers as it is told and keeps the beats that it gets."""

    def __init__(self, bench: TransportBench, port: int):
        self.bench, self.port = bench, port
        self.reader = Reader(CONFIG)
        self.told: deque[tuple[Cause, int]] = deque()  #: answers other than that all went well
        self.answers: list[tuple[Cause, int]] = []  #: to its own requests
        self.answering = True
        self._due = 0  #: cycle of the last answer
        bench.on[f"o_requests__{port}"] = self._request
        bench.on[f"o_answers__{port}"] = self._answer

    @property
    def packets(self) -> list[Packet]:
        return self.reader.packets

    def _request(self, beat: int):
        packet = self.reader.take(beat)
        if packet is not None and not packet.data and self.answering:
            delay = self.bench.random.randint(1, 1 + int(60 * self.bench.stall))
            self._due = max(self._due + 1, self.bench.cycle + delay)
            cocotb.start_soon(self._reply(self._due - self.bench.cycle))

    async def _reply(self, delay: int):
        cause, address = self.told.popleft() if self.told else (Cause.NONE, 0)
        await ClockCycles(self.bench.dut.clk, delay)
        self.bench.todo[f"i_answers__{self.port}"].append(answer(cause, address))

    def _answer(self, beat: int):
        layout = answer_layout()
        assert beat >> layout.size == 0
        told = layout.from_bits(beat)
        self.answers.append((Cause(told.cause), told.address))
        _PACKETS.sample(port=self.port, cause=Cause(told.cause))

    def request(self, *sent: Packet):
        """Sends packets."""
        for packet in sent:
            beats = packet.encode(CONFIG, self.bench.rng)
            self.bench.todo[f"i_requests__{self.port}"].extend(beats)
            if packet.data:
                _PACKETS.sample(port=self.port, beats={2: "1", 1 + MAX_BEATS: "32"}.get(len(beats), "2 to 31"))

    def random_packet(self, first: int, limit: int) -> Packet:
        """A WRITE within some bytes."""
        draw = self.bench.random.randint
        count = self.bench.random.choice((1, draw(1, BUS), draw(1, MAX_BEATS * BUS), MAX_BEATS * BUS))
        address = draw(first, limit - count)
        if self.bench.random.random() < 0.4:
            address = address // BUS * BUS
        address, count = next(iter(cut(CONFIG, address, count)))
        return Packet(address, self.bench.rng.bytes(count))


def partners(bench: TransportBench) -> list[Partner]:
    return [Partner(bench, port) for port in PORTS]


def masks(f: Instruction) -> int:
    return sum(1 << q for q in f.signal)


@cocotb.test()
@cocotb.parametrize(stall=[0, 0.4])
async def test_sends_of_every_shape(dut, stall):
    bench = await TransportBench.start(dut, stall)
    ends = partners(bench)
    sent = [bench.send() for _ in range(120 if FAST else 25)]
    await bench.idle()
    for port, end in enumerate(ends):
        expected = [p for f in sent if f["port"] == port for p in packets(CONFIG, f, bench.bytes_at)]
        assert end.packets == expected
        assert end.reader.between
    assert bench.signals == [masks(f) for f in sent]
    assert bench.releases == [f.release for f in sent if f.release]
    assert bench.fault(0) == (Cause.NONE, 0)
    report()


@cocotb.test()
async def test_eight_sends_await_their_answer(dut):
    """One more starts when the oldest is answered; the ninth is not even read."""
    bench = await TransportBench.start(dut)
    end, _ = partners(bench)
    end.answering = False
    sent = [bench.send(port=0, rows=1, row_bytes=64, release=1) for _ in range(SENDS + 2)]
    await bench.until(lambda: len(bench.releases) == SENDS)
    await ClockCycles(dut.clk, 200)
    assert sum(not packet.data for packet in end.packets) == SENDS
    assert (bench.signals, len(bench.todo["i_send"])) == ([], 2)
    for count in range(SENDS + 2):
        bench.todo["i_answers__0"].append(answer())
        await bench.until(lambda count=count: len(bench.signals) == count + 1)
        await ClockCycles(dut.clk, 100)
        assert sum(not packet.data for packet in end.packets) == min(SENDS + 1 + count, SENDS + 2)
    assert bench.signals == [masks(f) for f in sent]
    await bench.idle()


@cocotb.test()
async def test_a_long_send_has_no_gaps(dut):
    """With memory that answers without delay: as many beats as cycles, from the first header to the end."""
    bench = await TransportBench.start(dut)
    end, _ = partners(bench)
    cycles: list[int] = []
    take = bench.on["o_requests__0"]
    bench.on["o_requests__0"] = lambda beat: (cycles.append(bench.cycle), take(beat))
    f = Instruction(Opcode.SEND, {"address": BASE, "remote_address": BASE + HALF, "row_bytes": HALF // 2, "rows": 1})
    bench.give(f)
    await bench.idle()
    words = HALF // 2 // BUS
    assert len(cycles) == words + words // MAX_BEATS + 1
    assert cycles[-1] - cycles[0] <= 1.02 * len(cycles), f"{len(cycles)} beats took {cycles[-1] - cycles[0]} cycles"
    assert end.packets == packets(CONFIG, f, bench.bytes_at)


@cocotb.test()
@cocotb.parametrize(stall=[0, 0.4])
async def test_partners_write_at_any_time(dut, stall):
    """Each partner has memory of its own, so that the order between them does not matter; the program has the rest."""
    bench = await TransportBench.start(dut, stall)
    ends = partners(bench)
    models = [Receiver(CONFIG, bench.memory.content.copy(), BASE, [(BASE + HALF, BASE + SIZE)]) for _ in ends]
    share = HALF // len(ends)
    for end, model in zip(ends, models):
        first = BASE + HALF + end.port * share
        for _ in range(200 if FAST else 30):
            packet = end.random_packet(first, first + share) if bench.random.random() < 0.8 else Packet(
                post=bench.random.choice((None, 8 * end.port + bench.random.randrange(8))))
            end.request(packet)
            model.take(packet)
        end.request(Packet())
        model.take(Packet())
    program = bench.memory.content[:HALF].copy()
    for _ in range(40 if FAST else 8):
        beats = bench.random.randint(1, 40)
        word = bench.random.randrange(HALF // BUS - beats)
        values = bench.rng.bytes(BUS * beats)
        program[word * BUS:(word + beats) * BUS] = np.frombuffer(values, np.uint8)
        bench.todo["i_runs"].append(write_run_layout(CONFIG).const(
            {"address": BASE + word * BUS, "beats": beats, "signal": 1}).as_bits())
        bench.todo["i_words"].extend(word_layout(CONFIG).const({
            "data": int.from_bytes(values[i:i + BUS], "little"), "strb": (1 << BUS) - 1}).as_bits()
            for i in range(0, len(values), BUS))
    await bench.until(lambda: all(len(end.answers) == len(model.answers) for end, model in zip(ends, models)), 60_000)
    await bench.idle()
    await bench.until(lambda: not bench.rules.writes_open)
    assert bench.memory.content[:HALF].tobytes() == program.tobytes()
    for end, model in zip(ends, models):
        assert end.answers == list(model.answers)
        part = slice(HALF + end.port * share, HALF + (end.port + 1) * share)
        assert bench.memory.content[part].tobytes() == model.content[part].tobytes()
        assert bench.semaphores()[8 * end.port:8 * end.port + 8] == model.semaphores[8 * end.port:8 * end.port + 8]
    report()


@cocotb.test()
async def test_data_do_not_wait_for_their_address(dut):
    """A memory may take an address only when it has the data, whoever writes."""
    bench = await TransportBench.start(dut)
    ends = partners(bench)
    await bench.memory.hang("aw")
    sent = [Packet(BASE + HALF + 2048 * end.port, bench.rng.bytes(5 * BUS)) for end in ends]
    for end, packet in zip(ends, sent):
        end.request(packet, Packet())
    await bench.until(lambda: bench.rules.counts["w"] > 0)
    await ClockCycles(dut.clk, 50)
    assert bench.rules.counts["w"] <= 5, "the other one's data have their own address"
    assert bench.rules.counts["aw"] == 0
    bench.memory.resume()
    await bench.until(lambda: all(end.answers for end in ends))
    for packet in sent:
        assert bench.bytes_at(packet.address, len(packet.data)) == packet.data


def cable(bench: TransportBench, delay: int):
    """Connects port 0 with port 1; returns what passes each way."""
    passed = [Reader(CONFIG) for _ in PORTS]

    async def later(name: str, beat: int):
        await ClockCycles(bench.dut.clk, delay)
        bench.todo[name].append(beat)

    def request(port: int, beat: int):
        passed[port].take(beat)
        cocotb.start_soon(later(f"i_requests__{1 - port}", beat))

    for port in PORTS:
        bench.on[f"o_requests__{port}"] = lambda beat, port=port: request(port, beat)
        bench.on[f"o_answers__{port}"] = lambda beat, port=port: cocotb.start_soon(
            later(f"i_answers__{1 - port}", beat))
    return passed


@cocotb.test()
@cocotb.parametrize(stall=[0, 0.3])
async def test_both_ends_are_ours(dut, stall):
    bench = await TransportBench.start(dut, stall)
    passed = cable(bench, 12)
    content = bench.memory.content.copy()
    share = HALF // 2
    models = [Receiver(CONFIG, content, BASE, [(BASE + HALF, BASE + SIZE)]) for _ in PORTS]
    sent, posts = [], [0] * SEMAPHORES
    for _ in range(80 if FAST else 20):
        port = bench.random.randrange(2)
        f = bench.send(port=port, to=BASE + HALF + port * share, room=share)
        sent.append(f)
        for packet in packets(CONFIG, f, bench.bytes_at):
            models[port].take(packet)
        posts[f["semaphore"]] += f["post"]
    for semaphore, count in enumerate(posts):
        while count:
            taken = bench.random.randint(1, count)
            bench.recv(semaphore, taken, port=bench.random.randrange(2))
            count -= taken
    await bench.idle()
    assert bench.memory.content.tobytes() == content.tobytes()
    assert bench.signals == [masks(f) for f in sent]
    assert bench.semaphores() == [0] * SEMAPHORES
    for port, reader in enumerate(passed):
        assert reader.packets == [p for f in sent if f["port"] == port for p in packets(CONFIG, f, bench.bytes_at)]
    report()


@cocotb.test()
async def test_packets_outside_of_windows_are_refused(dut):
    bench = await TransportBench.start(dut, 0.2)
    ends = partners(bench)
    middle = BASE + HALF
    spans = [(middle + 5, middle + 2003), (middle + 2003, middle + 3000), (middle + 4096, middle + 8192)]
    bench.set_windows([(*span, 0b100) for span in spans] + [(BASE, BASE + SIZE, 0b011)])
    model = Receiver(CONFIG, bench.memory.content.copy(), BASE, spans)
    edges = [(first, count) for base, limit in spans for count in (1, 7, 40)
             for first in (base - 1, base, base + 1, limit - count - 1, limit - count, limit - count + 1, limit)]
    for address, count in [*edges, (BASE, 8), ((1 << ADDR_BITS) - 8, 8)]:
        for at, part in cut(CONFIG, address, count):
            for packet in (Packet(at, bench.rng.bytes(part)), Packet(post=3)):
                ends[1].request(packet)
                model.take(packet)
    several = [ends[0].random_packet(BASE, BASE + SIZE) for _ in range(30)]
    for packet in [*several, Packet(post=4), Packet(post=4)]:
        ends[1].request(packet)
        model.take(packet)
    await bench.until(lambda: len(ends[1].answers) == len(model.answers))
    assert ends[1].answers == list(model.answers)
    assert {cause for cause, _ in ends[1].answers} == {Cause.NONE, Cause.REMOTE_WINDOW}
    assert bench.memory.content.tobytes() == model.content.tobytes()
    assert bench.semaphores() == model.semaphores
    assert (int(dut.refused.value) >> 32, int(dut.refused_cause.value) >> 8) == (model.refused, Cause.REMOTE_WINDOW)
    assert int(dut.refused_address.value) >> ADDR_BITS in {p.address for p in several}
    assert int(dut.refused.value) & 0xFFFF_FFFF == 0, "port 0 has refused nothing"
    report()


@cocotb.test()
@cocotb.parametrize(cause=[Cause.REMOTE_WINDOW, Cause.REMOTE_ERROR])
async def test_a_failure_ends_with_its_session(dut, cause):
    """A packet fails and its END does not come, because the link goes down: the next session's first END is answered
    for its own packets, and posts."""
    bench = await TransportBench.start(dut)
    end, _ = partners(bench)
    first, limit = BASE + HALF, BASE + SIZE
    bad = end.random_packet(BASE, BASE + HALF) if cause == Cause.REMOTE_WINDOW else end.random_packet(first, limit)
    if cause == Cause.REMOTE_ERROR:
        bench.memory.write_errors[bad.address // BUS * BUS] = AxiResp.SLVERR
    end.request(bad)
    await ClockCycles(dut.clk, 200)
    bench.link(0, down=1, cause=LinkCause.NO_PARTNER)
    await ClockCycles(dut.clk, 20)
    bench.memory.write_errors.clear()
    bench.link(0, up=1)
    good = end.random_packet(first, limit)
    end.request(good, Packet(post=2))
    await bench.until(lambda: bool(end.answers))
    assert end.answers == [(Cause.NONE, 0)]
    assert bench.semaphores()[2] == 1
    assert bench.bytes_at(good.address, len(good.data)) == good.data
    report()


@cocotb.test()
async def test_memory_errors_are_answered(dut):
    bench = await TransportBench.start(dut, 0.2)
    end, _ = partners(bench)
    model = Receiver(CONFIG, bench.memory.content.copy(), BASE, [(BASE + HALF, BASE + SIZE)])
    for word in range(BASE + HALF, BASE + SIZE, BUS):
        if bench.random.random() < 0.01:
            bench.memory.write_errors[word] = bench.random.choice((AxiResp.SLVERR, AxiResp.DECERR))
            model.errors.add(word)
    for number in range(60):
        for packet in [*(end.random_packet(BASE + HALF, BASE + SIZE) for _ in range(3)), Packet(post=number % 4)]:
            end.request(packet)
            model.take(packet)
    await bench.until(lambda: len(end.answers) == 60)
    assert end.answers == list(model.answers)
    assert bench.semaphores() == model.semaphores
    assert {cause for cause, _ in end.answers} == {Cause.NONE, Cause.REMOTE_ERROR}
    report()


@cocotb.test()
@cocotb.parametrize(cause=[Cause.REMOTE_WINDOW, Cause.REMOTE_ERROR, Cause.REMOTE_SEMAPHORE, Cause.REMOTE_PACKET])
async def test_the_partners_failures_stop_the_program(dut, cause):
    bench = await TransportBench.start(dut, 0.2)
    end, other = partners(bench)
    failing = bench.random.randrange(1, 5)
    address = bench.random.randrange(1 << ADDR_BITS)
    end.told.extend([(Cause.NONE, 0)] * failing + [(cause, address)])
    sent = [bench.send(port=0, rows=2, post=1) for _ in range(12)]
    assert await bench.faulted() == (cause, address)
    _SENDS.sample(stop=cause)
    if cause == Cause.REMOTE_PACKET:
        end.answering = False  # nothing comes after that, and nothing is waited for
    await bench.quiet()
    assert bench.signals == [masks(f) for f in sent[:failing]]
    assert end.reader.between
    whole = sum(packet.post is not None for packet in end.packets)
    expected = [p for f in sent[:whole] for p in packets(CONFIG, f, bench.bytes_at)]
    assert end.packets[:len(expected)] == expected
    assert {p.post for p in end.packets[len(expected):]} <= {None}
    await bench.engine_reset()
    bench.signals.clear()
    bench.todo["i_answers__0"].clear()
    bench.send(port=1, signal=2)
    await bench.idle()
    assert bench.signals == [2]
    assert other.packets


@cocotb.test()
@cocotb.parametrize(cause=[Cause.READ_WINDOW, Cause.READ_ERROR, Cause.REMOTE_WINDOW])
async def test_what_cannot_be_read_is_not_posted(dut, cause):
    bench = await TransportBench.start(dut, 0.2)
    end, _ = partners(bench)
    good = bench.send(port=0, rows=1, post=1, semaphore=1, size=2048)
    if cause == Cause.READ_WINDOW:
        first = BASE + HALF - 2 * BUS  # up to the end of a page
        bench.send(port=0, rows=1, row_bytes=4 * BUS, address=first, remote_address=BASE + HALF, post=1, semaphore=2)
        address = BASE + HALF
    elif cause == Cause.READ_ERROR:
        bench.memory.read_errors[BASE + 4096 + 3 * BUS] = AxiResp.SLVERR
        bench.send(port=0, rows=1, row_bytes=9 * BUS, address=BASE + 4096, remote_address=BASE + HALF, post=1,
                   semaphore=2)
        address = BASE + 4096 + 3 * BUS
    else:
        last = (1 << ADDR_BITS) - 3 * BUS
        bench.send(port=0, rows=2, row_bytes=2 * BUS, stride=0, remote_stride=2 * BUS, address=BASE,
                   remote_address=last, post=1, semaphore=2)
        address = 1 << ADDR_BITS
    bench.send(port=0, post=1, semaphore=3, size=2048)
    assert await bench.faulted() == (cause, address)
    _SENDS.sample(stop=cause)
    await bench.quiet()
    assert end.reader.between
    assert {p.post for p in end.packets} <= {None, 1}
    assert bench.signals in ([], [masks(good)])
    await bench.engine_reset()
    bench.memory.read_errors.clear()
    bench.signals.clear()
    bench.send(signal=4)
    await bench.idle()
    assert bench.signals == [4]


@cocotb.test()
async def test_a_header_waits_for_its_words(dut):
    """Memory stops after some of a packet's words: a halt then finds no packet."""
    bench = await TransportBench.start(dut)
    end, _ = partners(bench)
    bench.give(Instruction(Opcode.SEND, {"address": BASE, "remote_address": BASE + HALF, "row_bytes": 20 * BUS,
                                         "rows": 1, "post": 1}))
    await bench.until(lambda: bench.rules.counts["r"] == 4)
    bench.memory.answering.clear()
    await ClockCycles(dut.clk, 50)
    assert 4 <= bench.rules.counts["r"] < 20
    assert end.reader.between
    dut.halt.value = 1
    await bench.until(lambda: dut.sending.value == 0)
    bench.memory.answering.set()
    await bench.quiet()
    assert end.packets == [Packet()]


def nonsense(bench: TransportBench) -> list[int]:
    """Headers that nobody sends."""
    layout, first = header_layout(), BASE + HALF
    kinds = [layout.const({"kind": kind, "address": first, "last_byte": 7}).as_bits() for kind in (0, 3)]
    longest = MAX_BEATS * BUS
    lengths = [(first, longest), (first + 1, longest - 1), (first + BURST_BOUNDARY - 8, 8),
               (first + BURST_BOUNDARY - BUS, BUS)]
    return kinds + [layout.const({"kind": Kind.WRITE, "address": address, "last_byte": last}).as_bits()
                    for address, last in lengths]


@cocotb.test()
async def test_a_header_that_makes_no_sense_ends_the_session(dut):
    bench = await TransportBench.start(dut, 0.2)
    end, other = partners(bench)
    content = bench.memory.content.copy()
    for number, header in enumerate(nonsense(bench), start=1):
        dut.delivered.value = 0
        end.request(Packet())
        bench.todo["i_requests__0"].append(header)
        end.request(*(end.random_packet(BASE + HALF, BASE + SIZE) for _ in range(3)), Packet(post=0))
        await bench.until(lambda number=number: len(end.answers) == 2 * number)
        address = header_layout().from_bits(header).address
        assert end.answers[-2:] == [(Cause.NONE, 0), (Cause.REMOTE_PACKET, address)]
        await ClockCycles(dut.clk, 50)
        assert (int(dut.closing.value), int(dut.broken.value)) == (1, 0), "the answer is not delivered"
        bench.send(port=1)  # the other port goes on
        await bench.idle()
        dut.delivered.value = 3
        await bench.until(lambda: dut.broken.value == 1)
        bench.link(0, down=1)
        await ClockCycles(dut.clk, 20)
        dut.enable.value = 2
        await bench.until(lambda: dut.broken.value == 0)
        bench.link(0)
        dut.enable.value = 3
        await ClockCycles(dut.clk, 20)
        bench.link(0, up=1)
        assert int(dut.refused.value) & 0xFFFF_FFFF == number
        assert int(dut.refused_cause.value) & 0xFF == Cause.REMOTE_PACKET
    assert other.packets
    assert bench.memory.content.tobytes() == content.tobytes()
    packet = end.random_packet(BASE + HALF, BASE + SIZE)
    end.request(packet, Packet(post=5))
    await bench.until(lambda: bench.semaphores()[5] == 1)
    assert bench.bytes_at(packet.address, len(packet.data)) == packet.data
    assert bench.semaphores()[0] == 0
    report()


@cocotb.test()
async def test_semaphores_count_exactly(dut):
    """Posts of both ports and RECVs in the same cycles."""
    bench = await TransportBench.start(dut)
    ends = partners(bench)
    expected = [0] * SEMAPHORES
    for end in ends:
        for _ in range(150):
            semaphore = bench.random.randrange(3)
            end.request(Packet(post=semaphore))
            expected[semaphore] += 1
    for semaphore in range(3):
        for _ in range(20):
            count = bench.random.randint(1, 3)
            bench.recv(semaphore, count, signal=(Queue.COMPUTE, Queue.RECEIVE))
            expected[semaphore] -= count
    await bench.until(lambda: [len(end.answers) for end in ends] == [150, 150])
    await bench.idle()
    assert bench.semaphores() == expected
    assert bench.received == [1 << Queue.COMPUTE | 1 << Queue.RECEIVE] * 60
    await FallingEdge(dut.clk)
    dut.clear.value = 0b101
    await FallingEdge(dut.clk)
    dut.clear.value = 0
    assert bench.semaphores() == [0, expected[1], 0, *[0] * 13]


@cocotb.test()
async def test_a_full_semaphore_is_answered(dut):
    bench = await TransportBench.start(dut)
    end, _ = partners(bench)
    end.request(Packet(post=9), Packet(post=9))
    await bench.until(lambda: len(end.answers) == 2)
    dut.full.value = 1
    end.request(Packet(post=9), Packet(), Packet(post=11))
    await bench.until(lambda: len(end.answers) == 5)
    dut.full.value = 0
    end.request(Packet(post=9))
    await bench.until(lambda: len(end.answers) == 6)
    well = Cause.NONE, 0
    assert end.answers == [well, well, (Cause.REMOTE_SEMAPHORE, 9), well, (Cause.REMOTE_SEMAPHORE, 11), well]
    report()


@cocotb.test()
async def test_recv_waits(dut):
    bench = await TransportBench.start(dut)
    end, _ = partners(bench)
    bench.link(1)
    bench.recv(7, 2, port=1)
    end.request(Packet(post=7))
    await ClockCycles(dut.clk, 200)
    assert (bench.received, bench.semaphores()[7]) == ([], 1), "one is not two, and the link trains"
    dut.granted.value = 1
    end.request(Packet(post=7))
    await ClockCycles(dut.clk, 100)
    assert (bench.received, bench.semaphores()[7]) == ([], 2), "a token is missing"
    bench.link(1, down=1, cause=LinkCause.NO_PARTNER)
    await ClockCycles(dut.clk, 10)
    dut.granted.value = 3
    await bench.until(lambda: bench.semaphores()[7] == 0)
    await bench.idle()
    assert len(bench.received) == 1, "what was posted counts, whatever the link does"
    assert bench.fault(1) == (Cause.NONE, 0)
    bench.recv(7, 1, port=1)
    assert await bench.faulted(1) == (Cause.LINK_DOWN, 1 + 256 * LinkCause.NO_PARTNER)
    end.request(Packet(post=7))
    await bench.until(lambda: bench.semaphores()[7] == 1)
    await ClockCycles(dut.clk, 20)
    assert bench.semaphores()[7] == 1, "after a fault nothing is taken"


@cocotb.test()
async def test_a_link_that_is_down_stops_the_program(dut):
    """A link that trains is waited for."""
    bench = await TransportBench.start(dut)
    end, other = partners(bench)
    bench.link(0)
    bench.send(port=0, rows=1, signal=8)
    await ClockCycles(dut.clk, 300)
    assert (end.packets, dut.sending.value) == ([], 0)
    bench.link(0, up=1)
    await bench.idle()
    assert bench.signals == [8]
    bench.link(1, down=1, cause=LinkCause.CONFIGURATION)
    bench.send(port=1)
    assert await bench.faulted() == (Cause.LINK_DOWN, 1 + 256 * LinkCause.CONFIGURATION)
    _SENDS.sample(stop=Cause.LINK_DOWN)
    assert dut.sending.value == 0
    assert other.packets == []


@cocotb.test()
@cocotb.parametrize(trial=range(8 if FAST else 3))
async def test_a_link_that_goes_down(dut, trial):
    """At any moment, with SENDs and packets of the partner on their way; then a new session, at once."""
    bench = await TransportBench.start(dut, 0.2)
    ends = partners(bench)
    for end in ends:
        end.answering = trial % 2 == 0
    first, limit = BASE + HALF, BASE + SIZE
    original = bench.memory.content.copy()
    before = [ends[0].random_packet(first, limit) for _ in range(40)]
    for packet in before:
        ends[0].request(packet, Packet(post=15))
    sent = [bench.send(port=n % 2 if trial < 6 else 0, rows=3, row_bytes=300, post=1) for n in range(8)]
    await ClockCycles(dut.clk, bench.random.randrange(20, 700))
    answered = len(bench.signals)
    bench.link(0, down=1, cause=LinkCause.PARTNER_RESET)
    bench.deaf = {"o_requests__0", "o_answers__0"}
    bench.todo["i_answers__0"].clear()
    while len(bench.todo["i_requests__0"]) > 1 + trial:  # the rest will never come
        bench.todo["i_requests__0"].pop()
    await ClockCycles(dut.clk, 2)
    if bench.fault(0)[0] != Cause.NONE:
        assert bench.fault(0) == (Cause.LINK_DOWN, 256 * LinkCause.PARTNER_RESET)
    else:
        assert {f["port"] for f in sent[answered:]} <= {1} or bench.todo["i_send"] or not sent[answered:]
    dut.halt.value = 1
    for end in ends:
        end.answering = True
    if trial % 2:
        bench.todo["i_answers__1"].extend([answer()] * sum(not p.data for p in ends[1].packets))
    await bench.quiet()
    assert ends[1].reader.between
    await bench.engine_reset()
    bench.link(0)
    bench.signals.clear()
    await ClockCycles(dut.clk, 20)
    assert not bench.todo["i_requests__0"], "what the link had already is dropped"
    ends[0].reader = Reader(CONFIG)
    ends[0].answers.clear()
    bench.deaf = set()
    bench.link(0, up=1)
    packet = ends[0].random_packet(first, limit)
    ends[0].request(packet, Packet(post=2))
    f = bench.send(port=0, signal=16)
    await bench.idle()
    await bench.until(lambda: bool(ends[0].answers))
    assert bench.signals == [16]
    assert ends[0].answers == [(Cause.NONE, 0)]
    assert ends[0].packets == packets(CONFIG, f, bench.bytes_at)
    assert bench.bytes_at(packet.address, len(packet.data)) == packet.data
    known = bench.memory.content == original
    for written in [*before, packet]:
        at = slice(written.address - BASE, written.address - BASE + len(written.data))
        known[at] |= bench.memory.content[at] == np.frombuffer(written.data, np.uint8)
    assert known.all(), "something is in memory that nobody sent there"
    report()


@cocotb.test()
@cocotb.parametrize(trial=range(8 if FAST else 3))
async def test_a_halt_leaves_no_half_packet(dut, trial):
    bench = await TransportBench.start(dut, (0, 0.3)[trial % 2])
    ends = partners(bench)
    for _ in range(4):
        for end in ends:
            end.packets.clear()
        bench.signals.clear()
        sent = [bench.send(rows=3, row_bytes=bench.random.choice((40, 700)), post=1) for _ in range(12)]
        await ClockCycles(dut.clk, bench.random.randrange(5, 400))
        await FallingEdge(dut.clk)
        dut.halt.value = 1
        done = len(bench.signals)
        await bench.quiet()
        await ClockCycles(dut.clk, 100)
        assert bench.signals == [masks(f) for f in sent[:len(bench.signals)]]
        assert len(bench.signals) <= done + 1
        begun = 0
        for end in ends:
            assert end.reader.between
            mine = [packets(CONFIG, f, bench.bytes_at) for f in sent if f["port"] == end.port]
            for packet in end.packets:
                if packet.data or packet.post is not None:
                    assert packet == mine[0].pop(0)
                if not packet.data:
                    begun += 1
                    mine.pop(0)
        assert begun <= len(sent) - len(bench.todo["i_send"]) + 1
        await bench.engine_reset()
    f = bench.send(signal=1, rows=2)
    for end in ends:
        end.packets.clear()
    await bench.idle()
    assert ends[f["port"]].packets == packets(CONFIG, f, bench.bytes_at)
    report()
