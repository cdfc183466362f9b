"""Decode: every rule of every instruction, by directed and random records, against :func:`hdl.isa.illegal_fields`."""

from dataclasses import dataclass
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge, RisingEdge

from hdl.config import ADDR_BITS, INSTRUCTION_BYTES
from hdl.csr import Cause
from hdl.ipu.decode import Decode, command_layout
from hdl.ipu.fault import fault_layout
from hdl.ipu.fetch import record_layout
from hdl.isa import FIELDS, HEAD, QUEUE_OF, Field, Instruction, Opcode, Queue, fields_layout, opcodes, queues
from sim.rtl import test_config

from .coverage import Coverage, report
from .instructions import broken_rules, changes, encoded, legal, limits, rules
from .start import reset, start

FAST = cocotb.SIM_NAME.lower().startswith("verilator")

CONFIG = test_config()

_RULES = Coverage("decode", {"legal": list(opcodes(CONFIG)), "broken": rules(CONFIG), "unknown_opcode": [True],
                             "first_halted": [True], "stalled_queue": list(queues(CONFIG))})


@dataclass
class Seen:
    """What became of one record."""
    commands: list[tuple[Queue, int]]
    cause: Cause
    address: int


class DecodeBench:
    """Gives records one after another; an illegal one is followed by a reset, as in the chip. Make one per test with
    :meth:`start`."""

    def __init__(self, dut: Any):
        self.dut = dut
        self.config = CONFIG
        self.rng = np.random.default_rng(cocotb.RANDOM_SEED)
        self.outputs = {queue: tuple(getattr(dut, f"o_{queue.name.lower()}__{part}")
                                     for part in ("valid", "ready", "payload")) for queue in queues(CONFIG)}
        self.ready = 1.0

    @classmethod
    async def start(cls, dut: Any) -> "DecodeBench":
        await start(dut, Decode(CONFIG))
        return cls(dut)

    async def reset(self):
        self.dut.i_records__valid.value = 0
        for _, ready, _ in self.outputs.values():
            ready.value = 0
        await reset(self.dut, 1)

    async def give(self, record: bytes, address: int) -> Seen:
        """Offers a record until it has been dispatched or has raised a fault, then watches a few cycles more."""
        dut = self.dut
        payload = record_layout().const({"address": address, "bits": int.from_bytes(record, "little")}).as_bits()
        dut.i_records__payload.value = payload
        dut.i_records__valid.value = 1
        seen = Seen([], Cause.NONE, 0)
        held: dict[Queue, int] = {}
        left = 200
        while left:
            for _, ready, _ in self.outputs.values():
                ready.value = int(self.rng.random() < self.ready)
            await RisingEdge(dut.clk)
            taken = dut.i_records__valid.value == 1 and dut.i_records__ready.value == 1
            for queue, (valid, ready, command) in self.outputs.items():
                assert valid.value == 1 or queue not in held, "a command must stay until it is taken"
                if valid.value == 1:
                    bits = int(command.value)
                    assert held.get(queue, bits) == bits, "a command must not change until it is taken"
                    held[queue] = bits
                    if ready.value == 1:
                        seen.commands.append((queue, held.pop(queue)))
                    else:
                        _RULES.sample(stalled_queue=queue)
            await FallingEdge(dut.clk)
            fault = fault_layout().from_bits(int(dut.fault.value))
            if taken:
                dut.i_records__valid.value = 0
            if (seen.commands or fault.valid) and left > 4:
                left = 4
            left -= 1
        seen.cause, seen.address = (Cause(fault.cause), fault.address) if fault.valid else (Cause.NONE, 0)
        return seen

    async def check(self, record: bytes) -> tuple[Cause, set[tuple[Opcode, str]]]:
        """Gives a record and compares what becomes of it; returns why it is illegal."""
        address = int(self.rng.integers(0, 1 << ADDR_BITS - 6)) << 6
        cause, rules = broken_rules(self.config, record)
        seen = await self.give(record, address)
        if cause != Cause.NONE:
            assert (seen.commands, seen.cause, seen.address) == ([], cause, address), \
                f"{record.hex()} breaks {rules}, must raise {cause.name} at {address:#x}, not {seen}"
            await self.reset()
            return cause, rules
        instruction = Instruction.decode(record)
        queue = QUEUE_OF[instruction.opcode]
        assert (seen.cause, [q for q, _ in seen.commands]) == (Cause.NONE, [queue]), \
            f"{instruction} is legal, must go to {queue.name}, not {seen}"
        command = command_layout(self.config, queue).from_bits(seen.commands[0][1])
        assert command.opcode == instruction.opcode
        assert command.wait == sum(1 << q for q in instruction.wait)
        assert command.signal == sum(1 << q for q in instruction.signal)
        layout = fields_layout(instruction.opcode)
        fields = layout.from_bits(command.body & (1 << layout.size) - 1)
        assert {name: int(fields[name]) for name in FIELDS[instruction.opcode]} == instruction.fields
        assert int(self.dut.address.value) == address, "address must be that of the instruction dispatched"
        _RULES.sample(legal=instruction.opcode)
        return cause, rules


@cocotb.test()
async def test_each_rule_alone(dut):
    """Each field just legal and just illegal, each reserved bit and each unknown queue, with nothing else wrong; that
    covers every rule."""
    bench = await DecodeBench.start(dut)
    broken = set()
    for opcode, change, expected in changes(bench.config):
        _, found = await bench.check(encoded(opcode, legal(bench.config, opcode) | change))
        assert found == {(opcode, name) for name in expected}, f"{opcode.name} {change} breaks {found}"
        broken |= found
    for opcode in opcodes(CONFIG):
        plain = int.from_bytes(encoded(opcode, legal(bench.config, opcode)), "little")
        head_end = sum(field.bits for field in HEAD.values())
        first_free = 64 + sum(field.bits for field in FIELDS[opcode].values())
        for bit in (*range(8, 64), *range(first_free, 8 * INSTRUCTION_BYTES, 1 if FAST else 29)):
            _, found = await bench.check((plain | 1 << bit).to_bytes(INSTRUCTION_BYTES, "little"))
            queue_bit = bit < head_end and (bit - 8) % 8 < len(queues(CONFIG))
            assert len(found) == (not queue_bit), f"bit {bit} of {opcode.name} breaks {found}"
            broken |= found
    for rule in broken:
        _RULES.sample(broken=rule)
    assert broken == set(rules(CONFIG)), f"never broken: {set(rules(CONFIG)) - broken}"
    report()


@cocotb.test()
async def test_each_opcode(dut):
    """Everything but the opcodes there are is unknown, whatever else the record holds."""
    bench = await DecodeBench.start(dut)
    for code in range(256):
        if code in opcodes(CONFIG):
            continue
        cause, _ = await bench.check(bytes([code]) + (bytes(63) if code % 2 else bench.rng.bytes(63)))
        assert cause == Cause.ILLEGAL_OPCODE
        _RULES.sample(unknown_opcode=True)


def random_value(rng: np.random.Generator, field: Field) -> int:
    """Any value of a field: small, large, or one of its limits."""
    if rng.random() < 0.2:
        return int(rng.choice(limits(field)))
    value = int.from_bytes(rng.bytes(8), "little") & (1 << int(rng.integers(1, field.bits + 1))) - 1
    return value - (1 << field.bits) if field.signed and value >> field.bits - 1 else value


@cocotb.test()
async def test_random_records(dut):
    """Mostly legal fields with some at random, queues that are not always ready."""
    bench = await DecodeBench.start(dut)
    bench.ready = 0.4
    causes = []
    for _ in range(2500 if FAST else 200):
        opcode = Opcode(int(bench.rng.choice(list(opcodes(CONFIG)))))
        fields = dict(legal(bench.config, opcode))
        for name in bench.rng.permutation(list(FIELDS[opcode]))[:int(bench.rng.integers(0, 4))]:
            fields[str(name)] = random_value(bench.rng, FIELDS[opcode][name])
        masks = 1 << (len(queues(CONFIG)) if bench.rng.random() < 0.95 else 8)
        record = encoded(opcode, fields, *(int(q) for q in bench.rng.integers(0, masks, 2)))
        causes.append((await bench.check(record))[0])
    assert {Cause.NONE, Cause.ILLEGAL_FIELD} <= set(causes)
    report()


@cocotb.test()
async def test_nothing_is_taken_while_halted_or_after_a_fault(dut):
    bench = await DecodeBench.start(dut)
    record = encoded(Opcode.LOAD_WEIGHTS, legal(bench.config, Opcode.LOAD_WEIGHTS))
    dut.halt.value = 1
    seen = await bench.give(record, 64)
    assert (seen.commands, seen.cause) == ([], Cause.NONE)
    _RULES.sample(first_halted=True)
    dut.halt.value = 0
    assert (await bench.give(record, 64)).commands
    seen = await bench.give(bytes(64), 128)
    assert (seen.commands, seen.cause, seen.address) == ([], Cause.ILLEGAL_OPCODE, 128)
    seen = await bench.give(record, 192)  # the first fault stays
    assert (seen.commands, seen.cause, seen.address) == ([], Cause.ILLEGAL_OPCODE, 128)
    report()

