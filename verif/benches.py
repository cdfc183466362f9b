"""The benches of the regression: which component, with which configurations, against which cocotb module.

Adding one is adding an entry to :data:`BENCHES`; ``make sim`` and ``make waves`` then know it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from amaranth.lib import wiring

from hdl.chip import Chip
from hdl.cim.array import Array
from hdl.cim.column import Column
from hdl.cim.loader import Loader
from hdl.cim.macro import Macro
from hdl.config import CONFIGS, Config
from hdl.ipu.activation_buffer import ActivationBuffer
from hdl.ipu.compute import Compute
from hdl.ipu.decode import Decode
from hdl.ipu.registers import Registers
from hdl.ipu.requantise import Requantise
from hdl.transport.semaphores import Semaphores
from hdl.verilog import Generated
from sim.rtl import SIMULATORS, Build, Results, build, run
from sim.rtl.design import generated
from sim.rtl.harness import AXI_MEMORY, LINK_CHANNEL, harness
from sim.rtl.link_pair import SOURCES as LINK_SOURCES
from sim.rtl.run import DEFAULT_SEED

from .card import CHIPS_VARIABLE, bench_card, bench_strangers
from .card import PLUSARGS as CARD_PLUSARGS
from .compute_self_test import ComputeSelfTest, ComputeSelfTestOfGates
from .dma import Dma
from .geometries import BARE, CABLE, LINKED, ODD, SMALL_RING, TINY_PAIR, TINY_RING, TWO_LINES, WIDE
from .ipu import Ipu
from .leaf import Leaf
from .link import bench_link, bench_pair
from .load import Loading
from .self_test import SelfTest
from .store import StoreBlock
from .transport import TransportBlock


@dataclass(frozen=True, kw_only=True)
class Bench:
    """One design under test with its cocotb module.

    Attributes
    ----------
    name : str
        What ``make sim TB=`` and ``make waves TB=`` call it; also the top module.
    component : function from Config to Component
    module : str
        cocotb module, as ``verif.tb_column``.
    configs : tuple of (str or Config)
        Run on both simulators; a name is one of :data:`hdl.config.CONFIGS`.
    verilator_configs : tuple of (str or Config)
        Run on Verilator only, being too large for Icarus.
    view : str
        Of the leaves.
    memory_bytes : int
        If not 0: the component is a chip, and the top is ``sim_top``, the chip with a memory of that size.
    wrap : function from Generated and Config to Generated
        If given: what the component's Verilog is put into; the result is the top.
    sources : tuple of Path
        Verilog files that the wrapping instantiates.
    hierarchical : bool
        Verilator builds what is several times in the top once, see :func:`sim.rtl.build`.
    plusargs : tuple of str
        Of the simulator.
    environment : dict
        Variables that the tests see.
    signals : dict of str to tuple of str
        Groups of signals that ``make waves`` shows besides the ports: title -> names below the top, ``*`` allowed.
    timeout : float
        Seconds that a run may take.
    formal : bool
        Whether it needs the extra 'formal'.
    """

    name: str
    component: Callable[[Config], wiring.Component]
    module: str
    configs: tuple[str | Config, ...]
    verilator_configs: tuple[str | Config, ...] = ()
    view: str = "generic"
    memory_bytes: int = 0
    wrap: Callable[[Generated, Config], Generated] | None = None
    sources: tuple[Path, ...] = ()
    hierarchical: bool = False
    plusargs: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    signals: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    timeout: float = 900
    formal: bool = False

    def configurations(self, simulator: str) -> list[Config]:
        """The configurations to run on a simulator."""
        chosen = self.configs + (self.verilator_configs if simulator == "verilator" else ())
        return [CONFIGS[c] if isinstance(c, str) else c for c in chosen]

    def build(self, config: Config, simulator: str, *, waves: bool = False) -> Build:
        """Builds if need be. Raises what :func:`sim.rtl.build` raises."""
        if self.wrap is not None:
            top = self.wrap(generated(self.component, config, name=self.name, view=self.view), config)
            return build(top, config, simulator=simulator, waves=waves, extra_sources=self.sources,
                         hierarchical=self.hierarchical and not waves)
        if not self.memory_bytes:
            return build(self.component, config, simulator=simulator, name=self.name, view=self.view, waves=waves)
        chip = generated(self.component, config, name="chip", view=self.view)
        top = harness(chip, config, memory_bytes=self.memory_bytes)
        return build(top, config, simulator=simulator, waves=waves, extra_sources=[AXI_MEMORY])

    def run(self, made: Build, *, seed: int | None = None, waves: bool = False, testcase: str | None = None,
            directory: Path | None = None) -> Results:
        """Runs what :meth:`build` has made. Raises what :func:`sim.rtl.run` raises."""
        stalls = [f"+stall_seed={DEFAULT_SEED if seed is None else seed}"] if self.memory_bytes else []
        return run(made, self.module, plusargs=[*self.plusargs, *stalls], environment=self.environment, seed=seed,
                   waves=waves, testcase=testcase, directory=directory, timeout=self.timeout)


def _macro_leaf(config: Config) -> wiring.Component:
    return Leaf(Macro(config))


def _requantise(config: Config) -> wiring.Component:
    return Requantise()  # the same in every configuration


BENCHES: tuple[Bench, ...] = (
    Bench(
        name="column", component=Column, module="verif.tb_column",
        configs=("tiny", "small", ODD, BARE), verilator_configs=("ulx3s",),
        signals={
            "plane": ("read_slot", "plane", "plane_sum.sign", "sum"),
            "shift and accumulate": ("mask", "remaining", "lowest", "shift", "term", "late.*"),
            "scale": ("product", "exponent", "shifted"),
            "banks": ("sign_0", "record_0.*", "sign_1", "record_1.*"),
        }),
    Bench(
        name="loader", component=Loader, module="verif.tb_loader",
        configs=("tiny", "small", ODD, BARE), verilator_configs=("ulx3s", "edge"),
        signals={
            "stream": ("bank", "header_beat", "beat", "end", "advance", "last_unit"),
            "placements": ("placements__*",),
            "steering": ("steer.member_*", "steer.exhausted_*", "stage_2_steering_*.lane_mask"),
            "negation constant": ("constants__*",),
        }),
    Bench(
        name="macro", component=Macro, module="verif.tb_macro",
        configs=("tiny", "small", ODD, BARE), verilator_configs=("ulx3s",),
        signals={
            "issue": ("issue.*", "accumulate.*"),
            "moves": ("move_*",),
            "column 0": ("column_0.select", "column_0.plane", "column_0.sum", "column_0.mask", "column_0.term",
                         "column_0.psum", "column_0.scaled.*"),
            "column 0 banks": ("column_0.sign_?", "column_0.record_?.*"),
        }),
    Bench(
        name="macro_simulation", component=_macro_leaf, module="verif.tb_macro", view="simulation",
        configs=(), verilator_configs=("small", ODD, "ulx3s")),
    Bench(
        name="array", component=Array, module="verif.tb_array",
        configs=("tiny", "small", BARE),
        signals={
            "issue": ("issue.*", "target.*"),
            "accumulation": ("fetch.*", "add"),
            "output channel 0": ("accumulator_0.vector", "accumulator_0.read__data", "accumulator_0.psums*",
                                 "accumulator_0.total_*", "accumulator_0.write__*", "accumulator_0.overflow"),
            "macro 0, column 0": ("macro_0_0.column_0.plane", "macro_0_0.column_0.sum", "macro_0_0.column_0.psum"),
        }),
    Bench(
        name="array_simulation", component=Array, module="verif.tb_array", view="simulation",
        configs=(), verilator_configs=(ODD,)),
    Bench(
        name="compute", component=Compute, module="verif.tb_compute",
        configs=("tiny", "small", ODD), verilator_configs=("edge",),
        signals={
            "walk": ("walk.steps_left", "walk.lane", "walk.at.*", "walk.o_pieces__*"),
            "gather": ("gather.reading.*", "gather.merging.*"),
            "issue": ("issue.*", "target.*"),
            "banks": ("banks.full", "banks.held_?"),
        }),
    Bench(
        name="requantise", component=_requantise, module="verif.tb_requantise", configs=("small",),
        signals={
            "sum": ("magnitude", "negative"),
            "binary32": ("value.*", "exact", "exact_exponent", "product.*"),
            "integer": ("integer", "shifted"),
        }),
    Bench(
        name="decode", component=Decode, module="verif.tb_decode", configs=("tiny", "small", LINKED),
        verilator_configs=(WIDE,),
        signals={"rules": ("known", "legal", "record.*")}),
    Bench(
        name="mbist", component=SelfTest, module="verif.tb_mbist", view="simulation", configs=("tiny",),
        verilator_configs=("small", ODD),
        signals={
            "microcode": ("march.sequencer.step", "march.sequencer.first", "march.sequencer.refusal"),
            "operation": ("march.sequencer.operation.*", "march.data"),
            "failures": ("march.compare.failed", "march.compare.failure.*"),
        }),
    Bench(
        name="cbist", component=ComputeSelfTest, module="verif.tb_cbist", configs=("tiny",),
        verilator_configs=("small", ODD),
        signals={
            "steps": ("compute_test.steps.step", "compute_test.steps.state", "compute_test.steps.elapsed"),
            "load": ("compute_test.steps.load.drawing", "compute_test.steps.load.beat", "compute_test.steps.load.held"),
            "verdict": ("compute_test.verdict.at.*", "compute_test.verdict.fails"),
        }),
    Bench(
        name="cbist_gates", component=ComputeSelfTestOfGates, module="verif.tb_cbist_gates", formal=True,
        configs=("tiny",)),
    Bench(name="registers", component=Registers, module="verif.tb_registers", configs=("small", LINKED)),
    Bench(
        name="dma", component=Dma, module="verif.tb_dma", configs=("small",), verilator_configs=(WIDE,),
        signals={
            "readers": ("reader_?.in_flight", "reader_?.waiting", "reader_0.room", "reader_?.offset"),
            "writer": ("writer.bursts.waiting", "writer.bursts.beat"),
            "bursts": ("reader_?.splitter.rest.*", "writer.splitter.rest.*"),
        }),
    Bench(
        name="activation_buffer", component=ActivationBuffer, module="verif.tb_activation_buffer",
        configs=("tiny", "small", TWO_LINES), verilator_configs=("edge",),
        signals={"write": ("turned", "mask"), "read": ("place",)}),
    Bench(
        name="load", component=Loading, module="verif.tb_load", configs=("tiny", "small"),
        verilator_configs=(WIDE, "edge"),
        signals={
            "asking": ("load.row", "load.block", "load.rows", "load.blocks", "load.reader.in_flight"),
            "receiving": ("load.receive.transfer.*", "load.receive.row.*", "load.receive.rows", "load.receive.blocks",
                          "load.receive.left"),
            "completing": ("load.started.level", "load.received"),
        }),
    Bench(
        name="store", component=StoreBlock, module="verif.tb_store", configs=("tiny", "small"),
        verilator_configs=(WIDE, "edge"),
        signals={
            "instruction": ("store.start", "store.walking", "store.context", "store.in_use", "store.walk.address"),
            "slots": ("store.slot.*", "store.room", "store.reserved"),
            "residual": ("store.residual.gearbox.at", "store.residual.gearbox.left", "store.residual.gearbox.split"),
            "words": ("store.pack.begun.*", "store.writer.bursts.unclaimed", "store.writer.signal"),
        }),
    Bench(
        name="ipu", component=Ipu, module="verif.tb_ipu", configs=("tiny",), verilator_configs=("small",),
        signals={
            "instructions": ("engine.decode.address", "engine.*_queue.level"),
            "tokens": ("engine.tokens.tokens_*",),
            "compute": ("engine.compute.walk.steps_left", "engine.compute.walk.walking", "engine.compute.issue.*",
                        "engine.compute.banks.full"),
        }),
    Bench(
        name="chip", component=Chip, module="verif.tb_chip", configs=("tiny", "small"), verilator_configs=(WIDE,),
        signals={
            "control": ("core.control.engine_reset", "core.control.halt", "core.control.quiet", "core.control.reads",
                        "core.control.writes", "core.control.idle_cycles"),
            "instructions": ("core.engine.decode.address", "core.engine.*_queue.level"),
            "tokens": ("core.engine.tokens.tokens_*",),
        }),
    Bench(
        name="bist", component=Chip, module="verif.tb_bist", configs=("tiny",), verilator_configs=("small",),
        signals={
            "self-test": ("core.march.sequencer.step", "core.march.busy", "core.march.held", "core.march.blocked"),
            "jtag": ("jtag.tap.fsm_state", "jtag.tap.instruction", "jtag.request", "jtag.answer"),
        }),
    Bench(
        name="soak", component=Chip, module="verif.tb_soak", view="simulation", configs=("small",),
        memory_bytes=1 << 18,
        plusargs=("+image=image.hex", "+dump=dump.hex", "+stall_chance=64", "+stall_longest=24"),
        signals={"instructions": ("chip.core.engine.decode.address", "chip.core.engine.*_queue.level")}),
    Bench(
        name="transport", component=TransportBlock, module="verif.tb_transport", configs=(LINKED,),
        signals={
            "sends": ("send.waiting", "send.lost", "send.started.level", "send.packetiser.left",
                      "send.reader.level"),
            "requests": ("remote_?.packet_state", "remote_?.header.*", "remote_?.over", "remote_?.requests.level"),
            "semaphores": ("semaphores.post", "semaphores.posted"),
        }),
    Bench(name="semaphores", component=Semaphores, module="verif.tb_semaphores", configs=(LINKED,)),
    Bench(
        name="link", component=bench_link, wrap=bench_pair, sources=LINK_SOURCES, module="verif.tb_link",
        configs=(CABLE,), verilator_configs=("small", "edge"),
        signals={
            "training": ("link_a.training.link_state", "link_b.training.link_state"),
            "transmitter": ("link_a.transmitter.chosen.*", "link_a.transmitter.replay.*"),
            "receiver": ("link_b.receiver.header.*", "link_b.receiver.expected", "link_b.receiver.nak"),
        }),
    *(Bench(
        name=f"card{chips}", component=Chip, wrap=bench_card(chips), sources=(AXI_MEMORY, LINK_CHANNEL),
        module="verif.tb_card", configs=configs, verilator_configs=verilator_configs, view="simulation",
        hierarchical=True, environment={CHIPS_VARIABLE: str(chips)}, plusargs=CARD_PLUSARGS,
        signals={f"chip {chip}": tuple(f"chip{chip}.chip.core.{signal}" for signal in (
            "engine.decode.address", "engine.*_queue.level", "engine.ports__*__state.*"))
            for chip in range(chips)})
      for chips, configs, verilator_configs in ((2, (TINY_PAIR,), (SMALL_RING,)), (4, (), (TINY_RING,)))),
    Bench(
        name="strangers", component=Chip, wrap=bench_strangers, sources=(AXI_MEMORY, LINK_CHANNEL),
        module="verif.tb_strangers", configs=(TINY_PAIR,), view="simulation", hierarchical=True,
        environment={CHIPS_VARIABLE: "2"}, plusargs=CARD_PLUSARGS,
        signals={"links": tuple(f"chip{chip}_link0_tx" for chip in range(2))}),
    Bench(
        name="link_reference", component=bench_link, module="verif.tb_link_reference",
        configs=(CABLE,), verilator_configs=("tiny", "edge"),
        signals={
            "training": ("training.link_state",),
            "transmitter": ("transmitter.chosen.*", "transmitter.replay.*"),
            "receiver": ("receiver.header.*", "receiver.expected", "receiver.nak"),
        }),
)


def bench(name: str) -> Bench:
    """The bench of that name. Raises ``ValueError`` naming those that exist."""
    found = {b.name: b for b in BENCHES}
    if name not in found:
        raise ValueError(f"the bench must be one of {', '.join(sorted(found))}, not {name!r}")
    return found[name]


def cases(simulator: str, name: str | None = None) -> list[tuple[Bench, Config]]:
    """Every bench with every configuration that a simulator runs; or those of one bench, and of those that are named
    after it: ``link`` brings ``link_reference``."""
    if simulator not in SIMULATORS:
        raise ValueError(f"the simulator must be one of {', '.join(SIMULATORS)}, not {simulator!r}")
    chosen = BENCHES
    if name is not None:
        chosen = (bench(name), *(b for b in BENCHES if b.name.startswith(f"{name}_")))
    return [(b, config) for b in chosen for config in b.configurations(simulator)]
