"""The registers of the chip that decide when something happens, by block, and the wires between blocks.

Names are those of :mod:`hdl.ipu`, :mod:`hdl.cim` and ``sim/rtl/axi_memory.sv``. All are whole numbers. A FIFO is its
level: what comes out of it is known from the program, so that it is enough to know how many entries have left it. What
holds an entry of the program is that entry's index in :class:`~sim.cycle.plan.Plan`.
"""

import numpy as np

from hdl.csr import COUNTERS
from hdl.isa import QUEUES

#: DMA read channels by AXI ID; the bursts of the write channel follow theirs in the plan.
FETCH, WEIGHTS, LOAD, RESIDUAL = READERS = range(4)
WRITE = 4

#: Bursts that ``axi_memory`` holds.
MEMORY_OUTSTANDING = 64

#: Parts that :mod:`.events` evaluates on their own.
PARTS = 6


def _record(names: str, **arrays: int) -> np.dtype:
    """Fields of one whole number each, and fields of several."""
    return np.dtype([(name, np.int64) for name in names.split()]
                    + [(name, np.int64, (size,)) for name, size in arrays.items()])


REGISTERS = {
    "control": _record("cycle idle_cycles"),
    # hdl.ipu.reader with hdl.ipu.burst: `split` is the next burst to be split off, `burst` the one that is shown
    **{f"{channel}_reader": _record("running checking valid split burst room in_flight waiting inner ready")
       for channel in ("fetch", "weights", "load", "residual")},
    "arbiter": _record("last waiting"),
    "fetch": _record("request left word"),
    "decode": _record("state instruction"),
    # hdl.ipu.engine: commands that wait, and the next one to be taken, by queue
    "queues": _record("", level=len(QUEUES), head=len(QUEUES)),
    "tokens": _record("overflow", count=len(QUEUES) ** 2),
    # hdl.ipu.load with hdl.ipu.receive
    "load": _record("state runs_left started oldest received transfer words_left"),
    "weights": _record("expected current word"),
    # hdl.cim.loader: bit i of `last_units` says that the last word of a step was accepted i + 1 cycles ago
    "loader": _record("units header_beat unit_beat step last_units committed"),
    # `hold`: the cycle from which a bank may be written
    "banks": _record("step", full=2, held=2, hold=2),
    # hdl.ipu.walk: `line` is the step's in the plan, `piece` counts in the line, `vectors_left` is of all rows
    "walk": _record("state steps_left line fresh kept silent bank planes final piece vectors_left opens"),
    # hdl.ipu.gather: words of sim.cycle.compute.vector
    "gather": _record("piece reading merging line"),
    "issue": _record("valid last plane planes closes final bank multiplies target_final"),
    # hdl.cim.array: bit i of `finals` is `target.final` i + 1 cycles ago
    "array": _record("finals retired in_flight"),
    # hdl.ipu.store with hdl.ipu.pack: bit i of a pipe is of the slot that entered i + 1 cycles ago
    "store": _record("walking instruction row rows_left row_start ending offset left context runs reserved released "
                     "valid_pipe fills_pipe last_pipe context_pipe", in_use=2),
    # hdl.ipu.residual with hdl.ipu.gearbox
    "residual": _record("active rows_left rows row geared at left block split valid"),
    # hdl.ipu.writer with hdl.ipu.burst: `sent` and `answered` are the first bursts that are not
    "writer": _record("running checking valid split burst waiting unclaimed inner ready lengths sent beat answers "
                      "answered signal"),
    # sim/rtl/axi_memory.sv
    "reads": _record("ar_head ar_tail active channel left valid id last ar_late r_late ar_count r_count r_beat"),
    "writes": _record("aw_level b_head b_tail b_valid aw_late w_late b_late aw_count w_count w_beat b_count"),
}

#: Combinational signals that one block gives to another, of the cycle at hand.
WIRES = _record(
    "load_start load_complete load_word load_finished weights_run load_pop compute_take compute_pop "
    "takes take skip must_run keep line_end o_piece move advance accept start_bank release_bank commit retired "
    "loader_ready weight_taken weight_last record_taken dispatch fetch_word fetch_taken store_start slot row_end "
    "slot_last fills block_taken run_pushed writer_run begin aw w w_last word_taken done residual_run "
    "cut hold_word gear_taken row_taken chosen ar ar_beats aw_show awready",
    runs_valid=len(READERS), runs_ready=len(READERS), show=len(READERS), asked=len(READERS), free=2)

RINGS = _record("", ar_channel=MEMORY_OUTSTANDING, ar_beats=MEMORY_OUTSTANDING, ar_time=MEMORY_OUTSTANDING,
                b_time=MEMORY_OUTSTANDING)

#: What :mod:`.events` has instead of registers that count in every cycle. All but numbers of words are cycles.
EVENTS = {
    # `done`: evaluated in advance up to here
    "agenda": _record("", when=PARTS, done=PARTS),
    # `free`: no word is on its way from here on; `shown`: a reader shows an address from here on
    "bus": _record("free", shown=len(READERS)),
    # by channel, of the next word that is taken from the FIFO: its burst and its place in that
    "words": _record("", burst=len(READERS), beat=len(READERS)),
    # words that go to the loader, one per cycle from `begin` on; `full`: a bank will be
    "taking": _record("begin words", full=2),
    # of the load queue: the counter that counts from `since` on, the last cycle moved to LOAD_BUSY, the first burst
    # that is not received, and the first transfer that is not claimed
    "account": _record("counts since busy burst claimed"),
    # of the array and the store queue: evaluated up to `until`, and the counter that counts from there on
    "computed": _record("until counts"),
    "stored": _record("until counts"),
    # first cycle in which a part is idle for good
    "idle": _record("front load weights compute store"),
}

STATE = np.dtype([*REGISTERS.items(), ("counters", np.int64, (len(COUNTERS),)), ("rings", RINGS), ("wires", WIRES),
                  *EVENTS.items()])


def places(*names: str) -> set[int]:
    """Places of blocks (``block``) and of fields (``block.field``) among the words of a state."""
    found: set[int] = set()
    for name in names:
        dtype, start = STATE, 0
        for part in name.split("."):
            assert dtype.fields is not None
            dtype, offset = dtype.fields[part][:2]
            start += offset
        found |= set(range(start // 8, (start + dtype.itemsize) // 8))
    return found


def reset() -> np.ndarray:
    """Registers as a reset of the chip leaves them, in state 0, and room for an earlier one."""
    return np.zeros(2, STATE)
