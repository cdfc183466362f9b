"""Decode: every rule of every instruction, by directed and random records, against :func:`hdl.isa.illegal_fields`."""

from dataclasses import dataclass
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge, RisingEdge

from hdl.config import ADDR_BITS, INSTRUCTION_BYTES, Config
from hdl.csr import Cause
from hdl.ipu.decode import Decode, command_layout
from hdl.ipu.fault import fault_layout
from hdl.ipu.fetch import record_layout
from hdl.isa import (
    FIELDS,
    HEAD,
    QUEUE_OF,
    QUEUES,
    Instruction,
    Opcode,
    OutputFormat,
    Queue,
    body_layout,
    fields_layout,
    head_layout,
    illegal_fields,
    instruction_layout,
    parameter_entries,
)
from sim.rtl import test_config

from .coverage import Coverage, report
from .start import reset, start

FAST = cocotb.SIM_NAME.lower().startswith("verilator")

#: Every rule, as opcode and field: what :func:`broken_rules` can find.
RULES = [(opcode, name) for opcode, names in {
    Opcode.LOAD_WEIGHTS: ("address", "steps", "beats"),
    Opcode.LOAD_ACTIVATIONS: ("address", "stride", "rows", "row_beats", "buffer_beat"),
    Opcode.LOAD_PARAMETERS: ("address", "channels", "channel"),
    Opcode.GEMM: ("steps", "vectors", "acc_vector", "act_line", "padding"),
    Opcode.STORE: ("address", "stride", "vectors", "channels", "acc_vector", "channel", "format", "padding", "low",
                   "high"),
}.items() for name in (*names, "wait", "signal", "reserved head", "reserved body")]

_RULES = Coverage("decode", {"legal": list(Opcode), "broken_alone": RULES, "unknown_opcode": [True],
                             "first_halted": [True], "stalled_queue": list(QUEUES)})


def broken_rules(config: Config, record: bytes) -> tuple[Cause, list[tuple[Opcode, str]]]:
    """Why a record is illegal: by opcode, or by which fields. Unlike ``Instruction.decode`` it finds all of them."""
    if record[0] not in set(Opcode):
        return Cause.ILLEGAL_OPCODE, []
    opcode = Opcode(record[0])
    head = head_layout().from_bits(int.from_bytes(record[:8], "little"))
    body = body_layout(opcode).from_bits(int.from_bytes(record[8:], "little"))
    unknown = ~sum(1 << q for q in QUEUES)
    found = [(opcode, name) for name in ("wait", "signal") if head[name] & unknown]
    reserved = {"reserved head": head.reserved, "reserved body": body.reserved}
    found += [(opcode, name) for name, bits in reserved.items() if bits]
    instruction = Instruction(opcode, {name: body[name] for name in FIELDS[opcode]})
    found += sorted({(opcode, sentence.split()[1]) for sentence in illegal_fields(config, instruction)})
    return (Cause.ILLEGAL_FIELD if found else Cause.NONE), found


def legal(config: Config, opcode: Opcode) -> dict[str, int]:
    """A legal instruction that fills its storage to the last entry."""
    bus = config.bus_bytes
    high = (1 << ADDR_BITS) - bus
    per_beat, beats = max(1, bus // 8), config.act_bytes // bus
    return {
        Opcode.LOAD_WEIGHTS: {"address": high, "beats": 1, "steps": 1},
        Opcode.LOAD_ACTIVATIONS: {"address": high, "stride": bus, "rows": 2, "row_beats": 1, "buffer_beat": beats - 4,
                                  "buffer_stride": 3},
        Opcode.LOAD_PARAMETERS: {"address": high, "channels": parameter_entries(config) - per_beat,
                                 "channel": per_beat},
        Opcode.GEMM: {"steps": 2, "vectors": 2, "act_line": config.act_lines - 2, "act_vector_stride": 1,
                      "acc_vector": config.acc_vectors - 2, "zero_point": 255},
        Opcode.STORE: {"address": high, "stride": bus, "vectors": 2, "channels": config.out_cols,
                       "acc_vector": config.acc_vectors - 2, "channel": parameter_entries(config) - config.out_cols,
                       "format": OutputFormat.INT8, "zero_point": -1, "low": -128, "high": 127},
    }[opcode]


def directed(config: Config) -> list[tuple[Opcode, dict[str, int], str]]:
    """Changes to the legal instruction that break one rule each, just so, and the rule's field; ``""``: still legal."""
    bus = config.bus_bytes
    found: list[tuple[Opcode, dict[str, int], str]] = []
    for opcode in Opcode:
        found.append((opcode, {}, ""))
        if "address" in FIELDS[opcode]:
            found += [(opcode, {"address": 1 << bit}, "address")
                      for bit in (*range((bus - 1).bit_length()), *range(ADDR_BITS, 64))]
            found += [(opcode, {"address": 0}, "")]
    weights, acts, parameters, gemm, store = Opcode
    top = (1 << 16) - 1
    found += [(weights, {"steps": 0}, "steps"), (weights, {"beats": 0}, "beats"),
              (weights, {"steps": (1 << 32) - 1, "beats": (1 << 32) - 1}, "")]
    found += [(acts, {"stride": 1 << bit}, "stride") for bit in range((bus - 1).bit_length())]
    last = config.act_bytes // bus - 1
    found += [(acts, {"stride": (1 << 32) - bus}, ""), (acts, {"rows": 0}, "rows"),
              (acts, {"row_beats": 0}, "row_beats"),
              (acts, {"buffer_beat": last + 1, "rows": 1}, "buffer_beat"), (acts, {"buffer_beat": last, "rows": 1}, ""),
              (acts, {"row_beats": 2}, "buffer_beat"), (acts, {"buffer_stride": 4}, "buffer_beat"),
              (acts, {"rows": 3}, "buffer_beat"), (acts, {"buffer_beat": (1 << 32) - 1, "rows": 1}, "buffer_beat"),
              (acts, {"rows": top, "buffer_stride": (1 << 32) - 1}, "buffer_beat"),
              (acts, {"rows": 1 + (1 << 15), "buffer_stride": 1 << 31, "buffer_beat": 0}, "buffer_beat"),
              (acts, {"rows": 1, "buffer_stride": (1 << 32) - 1}, ""), (acts, {"buffer_stride": 0}, ""),
              (acts, {"rows": top, "buffer_stride": 0}, "")]
    per_beat, entries = max(1, bus // 8), parameter_entries(config)
    found += [(parameters, {"channels": 0}, "channels"), (parameters, {"channels": entries}, "channel"),
              (parameters, {"channels": entries, "channel": 0}, ""),
              (parameters, {"channels": per_beat, "channel": entries}, "channel"),
              (parameters, {"channels": per_beat, "channel": entries - per_beat}, ""),
              (parameters, {"channels": per_beat, "channel": 1 << 16 - (1 if per_beat == 1 else 2)}, "channel")]
    if per_beat > 1:
        found += [(parameters, {"channels": per_beat - 1}, "channels"),
                  (parameters, {"channel": 1, "channels": per_beat}, "channel")]
    lines = config.act_lines
    found += [(gemm, {"steps": 0}, "steps"), (gemm, {"vectors": 0}, "vectors"),
              (gemm, {"acc_vector": config.acc_vectors - 1}, "acc_vector"), (gemm, {"acc_vector": top}, "acc_vector"),
              (gemm, {"vectors": config.acc_vectors, "acc_vector": 0, "act_vector_stride": 0}, ""),
              (gemm, {"vectors": config.acc_vectors + 1, "acc_vector": 0, "act_vector_stride": 0}, "acc_vector"),
              (gemm, {"act_line": lines - 1}, "act_line"), (gemm, {"act_vector_stride": 2}, "act_line"),
              (gemm, {"act_step_stride": 1}, "act_line"), (gemm, {"act_step_stride": 1, "act_line": lines - 3}, ""),
              (gemm, {"act_line": lines, "act_vector_stride": 0}, "act_line"),
              (gemm, {"act_line": 0, "steps": top, "act_step_stride": top}, "act_line"),
              (gemm, {"act_line": (1 << 32) - 1}, "act_line"), (gemm, {"steps": top}, ""),
              (gemm, {"steps": 1, "act_step_stride": top}, ""), (gemm, {"accumulate": 1, "act_signed": 1}, ""),
              (gemm, {"keep": 1}, "")]
    found += [(gemm, {"padding": 1 << bit}, "padding") for bit in range(FIELDS[gemm]["padding"].bits)]
    found += [(store, {"stride": 1 << bit}, "stride") for bit in range((bus - 1).bit_length())]
    found += [(store, {"stride": (1 << 32) - bus}, ""), (store, {"vectors": 0}, "vectors"),
              (store, {"channels": 0}, "channels"),
              (store, {"channels": config.out_cols + 1, "channel": 0}, "channels"),
              (store, {"acc_vector": config.acc_vectors - 1}, "acc_vector"),
              (store, {"channel": entries - config.out_cols + config.post_lanes}, "channel"),
              (store, {"channel": 1 << 15, "channels": 1}, "channel"), (store, {"channel": 0}, ""),
              (store, {"format": 3}, "format"), (store, {"format": 255}, "format"),
              (store, {"format": OutputFormat.INT32, "low": 1, "high": -1}, ""),
              (store, {"low": -129}, "low"), (store, {"low": 1, "high": 0}, "low"), (store, {"high": 128}, "high"),
              (store, {"low": -128, "high": -128}, ""), (store, {"low": 127}, ""),
              (store, {"format": OutputFormat.UINT8, "low": -1}, "low"),
              (store, {"format": OutputFormat.UINT8, "low": 0, "high": 255}, ""),
              (store, {"format": OutputFormat.UINT8, "low": 0, "high": 256}, "high"),
              (store, {"low": -1 << 15}, "low"), (store, {"high": (1 << 15) - 1}, "high"),
              (store, {"zero_point": -1 << 15}, ""), (store, {"zero_point": (1 << 15) - 1}, "")]
    if config.post_lanes > 1:
        found.append((store, {"channel": 1, "channels": 1}, "channel"))
    found += [(store, {"padding": 1 << bit}, "padding") for bit in range(8)]
    return found


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
        self.config = test_config()
        self.rng = np.random.default_rng(cocotb.RANDOM_SEED)
        self.outputs = {queue: tuple(getattr(dut, f"o_{queue.name.lower()}__{part}")
                                     for part in ("valid", "ready", "payload")) for queue in QUEUES}
        self.ready = 1.0

    @classmethod
    async def start(cls, dut: Any) -> "DecodeBench":
        await start(dut, Decode(test_config()))
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

    async def check(self, record: bytes) -> tuple[Cause, list[tuple[Opcode, str]]]:
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
        command = command_layout(queue).from_bits(seen.commands[0][1])
        assert command.opcode == instruction.opcode
        assert command.wait == sum(1 << q for q in instruction.wait)
        assert command.signal == sum(1 << q for q in instruction.signal)
        layout = fields_layout(instruction.opcode)
        fields = layout.from_bits(command.body & (1 << layout.size) - 1)
        assert {name: int(fields[name]) for name in FIELDS[instruction.opcode]} == instruction.fields
        assert int(self.dut.address.value) == address, "address must be that of the instruction dispatched"
        _RULES.sample(legal=instruction.opcode)
        return cause, rules


def encoded(opcode: Opcode, fields: dict[str, int], wait: int = 0, signal: int = 0) -> bytes:
    value = instruction_layout(opcode).const({"head": {"opcode": opcode, "wait": wait, "signal": signal},
                                              "body": fields}).as_bits()
    return value.to_bytes(INSTRUCTION_BYTES, "little")


@cocotb.test()
async def test_each_rule_alone(dut):
    """Each field just legal and just illegal, each reserved bit and each unknown queue, with nothing else wrong; that
    covers every rule."""
    bench = await DecodeBench.start(dut)
    broken = set()
    for opcode, changes, expected in directed(bench.config):
        _, rules = await bench.check(encoded(opcode, legal(bench.config, opcode) | changes))
        assert rules == ([(opcode, expected)] if expected else []), f"{opcode.name} {changes} breaks {rules}"
        broken.update(rules)
    for opcode in Opcode:
        plain = int.from_bytes(encoded(opcode, legal(bench.config, opcode)), "little")
        head_end = sum(field.bits for field in HEAD.values())
        first_free = 64 + sum(field.bits for field in FIELDS[opcode].values())
        for bit in (*range(8, 64), *range(first_free, 8 * INSTRUCTION_BYTES, 1 if FAST else 29)):
            _, rules = await bench.check((plain | 1 << bit).to_bytes(INSTRUCTION_BYTES, "little"))
            queue_bit = bit < head_end and (bit - 8) % 8 < len(QUEUES)
            assert len(rules) == (not queue_bit), f"bit {bit} of {opcode.name} breaks {rules}"
            broken.update(rules)
    for rule in broken:
        _RULES.sample(broken_alone=rule)
    assert broken == set(RULES), f"never broken alone: {set(RULES) - broken}"
    report()


@cocotb.test()
async def test_each_opcode(dut):
    """Everything but the five opcodes is unknown, whatever else the record holds."""
    bench = await DecodeBench.start(dut)
    for code in range(256):
        if code in set(Opcode):
            continue
        cause, _ = await bench.check(bytes([code]) + (bytes(63) if code % 2 else bench.rng.bytes(63)))
        assert cause == Cause.ILLEGAL_OPCODE
        _RULES.sample(unknown_opcode=True)


@cocotb.test()
async def test_random_records(dut):
    """Mostly legal fields with some at random, queues that are not always ready."""
    bench = await DecodeBench.start(dut)
    bench.ready = 0.4
    causes = []
    for _ in range(2500 if FAST else 200):
        opcode = Opcode(int(bench.rng.choice(list(Opcode))))
        fields = dict(legal(bench.config, opcode))
        for name in bench.rng.permutation(list(FIELDS[opcode]))[:int(bench.rng.integers(0, 4))]:
            field = FIELDS[opcode][name]
            value = int.from_bytes(bench.rng.bytes(8), "little") & (1 << int(bench.rng.integers(1, field.bits + 1))) - 1
            fields[str(name)] = value - (1 << field.bits) if field.signed and value >> field.bits - 1 else value
        queues = 8 if bench.rng.random() < 0.95 else 256
        record = encoded(opcode, fields, *(int(q) for q in bench.rng.integers(0, queues, 2)))
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

