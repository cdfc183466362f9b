"""Configurations that nobody would build: they find what the regular shape of the named ones hides."""

from hdl.config import CONFIGS, Config

#: Counts that are no powers of two, 32-bit headers, all eleven planes, two spares.
ODD = Config(name="odd", rows=32, cols=4, grid_k=2, grid_n=3, planes=11, bus_bits=64, acc_vectors=8, act_bytes=512,
             post_lanes=2, outstanding_reads=2, prefetch_beats=64, spare_cols=2)

#: The least of everything: one plane, no spare, one bus word of headers, fewer columns than lanes of the bus.
BARE = Config(name="bare", rows=8, cols=4, grid_k=1, grid_n=1, planes=1, bus_bits=64, acc_vectors=2, act_bytes=64,
              post_lanes=2, outstanding_reads=1, prefetch_beats=64, spare_cols=0)

#: A 128-bit bus with 32-bit headers, and as many results per cycle as there are output channels.
WIDE = Config(name="wide", rows=32, cols=4, grid_k=2, grid_n=1, planes=11, bus_bits=128, acc_vectors=8, act_bytes=2048,
              post_lanes=4, outstanding_reads=2, prefetch_beats=64)

#: The smallest activation buffer, and a line as short as a bus word.
TWO_LINES = BARE.with_(name="two_lines", act_bytes=16)

#: A link of four lanes of 32 bits: beats straddle words and flits.
CABLE = WIDE.with_(name="cable", link_lanes=4)

#: A chip with two links.
LINKED = WIDE.with_(name="linked", links=2)

#: Chips of cards: of two, with a lane as wide as the bus, which trains quickly; of two and four, with lanes in pairs.
TINY_PAIR = CONFIGS["tiny"].with_(name="tiny_pair", links=1, link_lanes=1)
TINY_RING = CONFIGS["tiny"].with_(name="tiny_ring", links=2, link_lanes=2)
SMALL_RING = CONFIGS["small"].with_(name="small_ring", links=2, link_lanes=2)
