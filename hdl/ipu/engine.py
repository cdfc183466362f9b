"""The engine: everything that a program uses, from instruction fetch to the array."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out, connect, flipped

from ..axi import axi4
from ..axi.arbiter import RoundRobin
from ..cim.array import Array
from ..cim.interfaces import bist_layout, connect_load, connect_test, test_signature
from ..cim.loader import Loader
from ..cim.signature import WIDTH
from ..config import ADDR_BITS, QUEUE_DEPTH, Config, clog2
from ..csr import counters
from ..isa import Queue, queues
from ..transport.interface import port_signature, semaphore_signature
from .activation_buffer import ActivationBuffer
from .activity import activity_layout
from .compute import Compute
from .decode import Decode, command_layout
from .fault import fault_layout
from .fetch import Fetch
from .field_test import field_test_signature
from .load import Load
from .parameter_memory import ParameterMemory
from .recv import Recv
from .send import Send
from .store import Store
from .table_memory import TableMemory
from .tokens import Tokens
from .weights import Weights
from .windows import windows_layout


def events_layout(config: Config) -> data.StructLayout:
    """What happens in a cycle, for counters and watchdog."""
    return data.StructLayout({"array_busy": 1, "weight_beat": 1, "progress": 1,
                              "queues": data.ArrayLayout(activity_layout(), len(queues(config)))})


class Engine(wiring.Component):
    """Runs one program after a reset.

    Members
    -------
    go : In(1), address, count : In
        Starts the program of ``count`` instructions.
    halt : In(1)
        Begin nothing new on the bus.
    windows : In(ArrayLayout), repair : In.array(macros, spare_cols)
    bus : Out(axi4.Signature)
    finished : Out(1)
        Nothing is left to do.
    fault : Out(fault_layout)
    dispatched_address : Out
        Of the youngest instruction dispatched.
    overflow : Out(1), events : Out(events_layout)
    counters : In(ArrayLayout)
        As :class:`~hdl.ipu.control.Control` counts the events.
    bist : In(bist_layout), bist_data : In(rows), bist_words : Out(ArrayLayout)
        Of the array, for use while no program runs.
    isolated : In(macros), test : In(test_signature), i_signature : In(32), o_signature : Out(32)
        Of the array.
    ports : Out(port_signature).array(links), semaphores : Out(semaphore_signature), sending : Out(1)
        With links only; some SEND that has started is not answered.
    field_test : Out(field_test_signature)
        From TEST instructions to the compute self-test.
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__({
            "go": In(1),
            "address": In(ADDR_BITS),
            "count": In(32),
            "halt": In(1),
            "windows": In(windows_layout()),
            "repair": In(clog2(config.cols + 1)).array(config.macros, config.spare_cols),
            "bus": Out(axi4.Signature(config)),
            "finished": Out(1),
            "fault": Out(fault_layout()),
            "dispatched_address": Out(ADDR_BITS),
            "overflow": Out(1),
            "events": Out(events_layout(config)),
            "counters": In(data.ArrayLayout(64, len(counters(config)))),
            "bist": In(bist_layout(config)),
            "bist_data": In(config.rows),
            "bist_words": Out(data.ArrayLayout(config.rows, config.macros)),
            "isolated": In(config.macros),
            "test": In(test_signature(config)),
            "i_signature": In(WIDTH),
            "o_signature": Out(WIDTH),
            **({"ports": Out(port_signature(config)).array(config.links), "semaphores": Out(semaphore_signature()),
                "sending": Out(1)} if config.links else {}),
            "field_test": Out(field_test_signature()),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.fetch = self.fetch = Fetch(config, channel=0)
        m.submodules.weights = self.weights = Weights(config, channel=1)
        m.submodules.load = self.load = Load(config, channel=2)
        m.submodules.decode = self.decode = Decode(config)
        m.submodules.tokens = self.tokens = Tokens(config)
        m.submodules.compute = self.compute = Compute(config)
        m.submodules.store = self.store = Store(config, channel=3)
        m.submodules.loader = self.loader = Loader(config)
        m.submodules.array = self.array = Array(config)
        m.submodules.activation_buffer = self.activation_buffer = ActivationBuffer(config)
        m.submodules.parameter_memory = self.parameter_memory = ParameterMemory(config)
        m.submodules.table_memory = self.table_memory = TableMemory(config)
        self.readers = [self.fetch, self.weights, self.load, self.store]
        self.executors = {Queue.LOAD: self.load, Queue.COMPUTE: self.compute, Queue.STORE: self.store}
        if config.links:
            self._links(m)
        self._instructions(m)
        self._memory(m)
        self._buffers(m)
        self._array(m)
        self._state(m)
        return m

    def _links(self, m):
        """The queues that use the ports."""
        m.submodules.send = self.send = send = Send(self.config, channel=4)
        m.submodules.recv = self.recv = recv = Recv(self.config)
        self.readers.append(send)
        self.executors |= {Queue.LINK: send, Queue.RECEIVE: recv}
        for mine, its, state in zip(self.ports, send.ports, recv.states):
            connect(m, send=its, port=flipped(mine))
            m.d.comb += state.eq(mine.state)
        connect(m, recv=recv.semaphores, semaphores=flipped(self.semaphores))
        m.d.comb += self.sending.eq(send.sending)

    def _instructions(self, m):
        """Fetch, decode, queues, tokens."""
        m.d.comb += [self.fetch.start.eq(self.go), self.fetch.address.eq(self.address), self.fetch.count.eq(self.count),
                     self.decode.halt.eq(self.halt), self.dispatched_address.eq(self.decode.address)]
        connect(m, fetch=self.fetch.o_records, decode=self.decode.i_records)
        for queue, executor in self.executors.items():
            fifo = SyncFIFO(width=command_layout(self.config, queue).size, depth=QUEUE_DEPTH)
            m.submodules[f"{queue.name.lower()}_queue"] = fifo
            commands = self.decode.output(queue)
            m.d.comb += [
                fifo.w_en.eq(commands.valid), fifo.w_data.eq(commands.payload), commands.ready.eq(fifo.w_rdy),
                executor.i_commands.valid.eq(fifo.r_rdy), executor.i_commands.payload.eq(fifo.r_data),
                fifo.r_en.eq(executor.i_commands.ready),
                executor.halt.eq(self.halt),
            ]
            connect(m, queue=executor.tokens, tokens=self.tokens.queues[queue])

    def _memory(self, m):
        """The DMA channels share the bus: addresses take turns, data find their channel by ID."""
        readers = self.readers
        m.submodules.arbiter = arbiter = RoundRobin(axi4.address_layout(self.config), len(readers))
        connect(m, arbiter=arbiter.o_chosen, bus=flipped(self.bus.ar))
        m.d.comb += self.bus.r.ready.eq(1)
        for number, reader in enumerate(readers):
            connect(m, reader=reader.ar, arbiter=arbiter.i_sources[number])
            m.d.comb += [
                reader.r.valid.eq(self.bus.r.valid & (self.bus.r.payload.id == reader.channel)),
                reader.r.payload.eq(self.bus.r.payload),
                reader.windows.eq(self.windows),
                reader.halt.eq(self.halt),
            ]
        for name in ("aw", "w", "b"):
            connect(m, store=getattr(self.store, name), bus=flipped(getattr(self.bus, name)))

    def _buffers(self, m):
        acts, parameters, tables = self.activation_buffer, self.parameter_memory, self.table_memory
        m.d.comb += [
            acts.write.eq(self.load.act_write),
            acts.write_address.eq(self.load.act_address),
            acts.write_word.eq(self.load.word),
            acts.write_mask.eq(self.load.act_mask),
            acts.read.eq(self.compute.read),
            acts.read_address.eq(self.compute.read_address),
            self.compute.read_line.eq(acts.line),
            parameters.write.eq(self.load.parameter_write),
            parameters.write_beat.eq(self.load.parameter_beat),
            parameters.write_word.eq(self.load.word),
            parameters.read.eq(self.store.parameter_fetch),
            parameters.read_block.eq(self.store.parameter_block),
            self.store.parameters.eq(parameters.parameters),
            tables.write.eq(self.load.table_write),
            tables.write_beat.eq(self.load.table_beat),
            tables.write_word.eq(self.load.word),
            tables.read.eq(self.store.table_read),
            tables.read_table.eq(self.store.table_select),
            tables.indices.eq(self.store.table_indices),
            self.store.table_values.eq(tables.values),
            self.store.counters.eq(self.counters),
        ]

    def _array(self, m):
        connect(m, load=self.load.o_weights, weights=self.weights.i_weights)
        connect(m, weights=self.weights.o_words, loader=self.loader.i_words)
        array, compute, loader = self.array, self.compute, self.loader
        connect_load(m, source=loader, sink=array)
        connect_test(m, source=self.test, sink=array.test)
        connect(m, compute=compute.field_test, test=flipped(self.field_test))
        for mine, given in zip(array.repair, self.repair):
            m.d.comb += [point.eq(value) for point, value in zip(mine, given)]
        m.d.comb += [
            self.weights.step_end.eq(loader.step_end),
            loader.bank_free.eq(compute.bank_free),
            compute.commit.eq(loader.commit),
            compute.commit_bank.eq(loader.commit_bank),
            compute.planes.eq(loader.planes),
            array.issue.eq(compute.issue),
            array.target.eq(compute.target),
            array.act_signed.eq(compute.act_signed),
            array.zero_point.eq(compute.zero_point),
            array.line.eq(compute.line),
            compute.retired.eq(array.retired),
            compute.retired_signal.eq(array.retired_signal),
            array.bist.eq(self.bist),
            array.bist_data.eq(self.bist_data),
            self.bist_words.eq(array.bist_words),
            array.isolated.eq(self.isolated),
            array.i_signature.eq(self.i_signature),
            self.o_signature.eq(array.o_signature),
            array.post_fetch.eq(self.store.post_fetch),
            array.post_vector.eq(self.store.post_vector),
            array.post_block.eq(self.store.post_block),
            self.store.post_values.eq(array.post_values),
            self.overflow.eq(array.overflow | self.store.overflow),
        ]

    def _state(self, m):
        links = (self.send, self.recv) if self.config.links else ()
        parts = (self.decode, self.fetch, self.weights, self.load, self.store, *links, self.tokens, self.compute)
        for part in reversed(parts):  # the first one wins
            with m.If(part.fault.valid):
                m.d.comb += self.fault.eq(part.fault)
        idle = Cat(self.fetch.done, self.decode.idle, self.weights.idle,
                   *(executor.idle for executor in self.executors.values()))
        handshakes = [channel.valid & channel.ready for channel in (
            self.bus.ar, self.bus.r, self.bus.aw, self.bus.w, self.bus.b, self.fetch.o_records)]
        handshakes += [self.send.moved] if self.config.links else []
        weight_beat = Signal()
        m.d.comb += [
            self.finished.eq(idle.all()),
            weight_beat.eq(self.loader.i_words.valid & self.loader.i_words.ready),
            self.events.array_busy.eq(self.compute.multiplies),
            *(activity.eq(queue.activity)
              for activity, queue in zip(self.events.queues, self.executors.values())),
            self.events.weight_beat.eq(weight_beat),
            self.events.progress.eq(Cat(handshakes, weight_beat, self.compute.issue.valid,
                                          self.compute.testing).any()),
        ]
