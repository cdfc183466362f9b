"""The store queue with the memories that it reads: what ``tb_store`` tests."""

from amaranth.hdl import Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out, connect, flipped

from hdl.axi import axi4
from hdl.config import ACC_BITS, Config, clog2
from hdl.csr import COUNTERS
from hdl.ipu.activity import activity_layout
from hdl.ipu.decode import command_layout
from hdl.ipu.fault import fault_layout
from hdl.ipu.parameter_memory import ParameterMemory
from hdl.ipu.store import Store
from hdl.ipu.table_memory import TableMemory
from hdl.ipu.tokens import Tokens
from hdl.ipu.windows import windows_layout
from hdl.isa import QUEUES, Queue


class StoreBlock(wiring.Component):
    """:class:`~hdl.ipu.store.Store` with tokens, parameters, tables, and one memory in place of the accumulators.

    Members
    -------
    m_axi_* : AXI4 master
    windows, halt, counters : In, i_commands : In(stream), overflow, activity, idle, fault : Out
        As in :class:`~hdl.ipu.store.Store`.
    acc_write : In(1), acc_block : In, acc_values : In
        Writes ``post_lanes`` accumulators; blocks are counted over all vectors.
    parameter_write, parameter_beat, table_write, table_beat, word : In
        Writes a bus word of parameters or tables.
    give, give_release : In(ArrayLayout)
        Tokens that the other queues signal and release.
    taken : Out(1), signal, released : Out
        What the store queue does with tokens.
    token_fault : Out(fault_layout)
    post_fetch : Out(1)
    """

    def __init__(self, config: Config):
        self.config = config
        parameters, tables = ParameterMemory(config), TableMemory(config)
        others = data.ArrayLayout(len(QUEUES), len(QUEUES) - 1)
        super().__init__(axi4.ports(config) | {
            "windows": In(windows_layout()),
            "halt": In(1),
            "counters": In(data.ArrayLayout(64, len(COUNTERS))),
            "i_commands": In(stream.Signature(command_layout(config, Queue.STORE))),
            "acc_write": In(1),
            "acc_block": In(clog2(config.acc_vectors * config.out_cols // config.post_lanes)),
            "acc_values": In(config.post_lanes * ACC_BITS),
            "parameter_write": In(1),
            "parameter_beat": In(len(parameters.write_beat)),
            "table_write": In(1),
            "table_beat": In(len(tables.write_beat)),
            "word": In(config.bus_bits),
            "give": In(others),
            "give_release": In(others),
            "taken": Out(1),
            "signal": Out(len(QUEUES)),
            "released": Out(len(QUEUES)),
            "token_fault": Out(fault_layout()),
            "post_fetch": Out(1),
            "overflow": Out(1),
            "activity": Out(activity_layout()),
            "idle": Out(1),
            "fault": Out(fault_layout()),
        })
        self._parts = parameters, tables

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.store = store = Store(config, channel=3)
        m.submodules.parameters, m.submodules.tables = parameters, tables = self._parts
        m.submodules.tokens = tokens = Tokens(config)
        bus = axi4.Signature(config).create()
        axi4.connect_ports(m, self, bus, config)
        for name in ("ar", "r", "aw", "w", "b"):
            connect(m, store=getattr(store, name), bus=flipped(getattr(bus, name)))
        connect(m, commands=flipped(self.i_commands), store=store.i_commands)
        connect(m, store=store.tokens, tokens=tokens.queues[QUEUES.index(Queue.STORE)])
        for queue, given, released in zip(tokens.queues, self.give, self.give_release):
            m.d.comb += [queue.signal.eq(given), queue.release.eq(released)]
        m.d.comb += [
            *(getattr(store, name).eq(getattr(self, name)) for name in ("windows", "halt", "counters")),
            *(getattr(self, name).eq(getattr(store, name)) for name in ("post_fetch", "overflow", "activity", "idle",
                                                                             "fault")),
            self.taken.eq(store.tokens.take),
            self.signal.eq(store.tokens.signal),
            self.released.eq(store.tokens.release),
            self.token_fault.eq(tokens.fault),
            parameters.write.eq(self.parameter_write),
            parameters.write_beat.eq(self.parameter_beat),
            parameters.write_word.eq(self.word),
            parameters.read.eq(store.parameter_fetch),
            parameters.read_block.eq(store.parameter_block),
            store.parameters.eq(parameters.parameters),
            tables.write.eq(self.table_write),
            tables.write_beat.eq(self.table_beat),
            tables.write_word.eq(self.word),
            tables.read.eq(store.table_read),
            tables.read_table.eq(store.table_select),
            tables.indices.eq(store.table_indices),
            store.table_values.eq(tables.values),
        ]
        self._accumulators(m, store)
        return m

    def _accumulators(self, m, store):
        config = self.config
        blocks = config.out_cols // config.post_lanes
        m.submodules.accumulators = memory = Memory(shape=len(self.acc_values), depth=config.acc_vectors * blocks,
                                                    init=[])
        write, read = memory.write_port(), memory.read_port()
        m.d.comb += [
            write.en.eq(self.acc_write),
            write.addr.eq(self.acc_block),
            write.data.eq(self.acc_values),
            read.addr.eq(store.post_vector * blocks + store.post_block),
            read.en.eq(store.post_fetch),
            store.post_values.eq(read.data),
        ]
