"""Instructions of a tiled layer: loads, products and stores of its pieces, and the tokens between them.

Activations and accumulators are used in two halves each, and so are parameters if there are more than two output tiles:
the loads of the next piece and the store of the tile before run beside the products of a piece. Instructions come in an
order in which each waits only for earlier ones, and a piece's loads come one piece ahead of its products: short queues
cannot block one another. The first piece is computed while it is loaded, see :mod:`.opening`; its loads wait
for one another, so that weights get their share of the bus.
"""

from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np

from hdl.config import Config
from hdl.isa import Instruction, Opcode, OutputFormat, Queue, ResidualFormat
from hdl.layouts import PARAMETER_BYTES

from .geometry import Geometry
from .opening import Region, Slice, loaded_parts, opening, whole
from .pieces import Piece, Rectangle, pieces, rectangles, tapered
from .tiling import Tiling
from .weights import Image

#: Loads of the first piece's activations that are under way at once; more would take the bus from the first weights.
AHEAD = 2

#: If storing a tile takes longer than computing half of it, each of so few tiles at most is stored by parts.
FEW_TILES = 16


@dataclass(frozen=True)
class Addresses:
    """Where things lie in memory; None: there is none."""

    x: int
    y: int
    parameters: int
    table: int | None = None
    residual: int | None = None
    counters: int | None = None


@dataclass
class Product:
    """A GEMM to be: consecutive steps of a piece, for some of its vectors.

    Attributes
    ----------
    piece : Piece
    images : list of Image
        The steps; all that follow one another differ.
    step : int
        The first, counted from the first of the piece.
    part : Rectangle
    initial : bool
        They are the first steps that the accumulators see.
    load : Instruction or None
        The activations that it waits for.
    begins, ends : bool
        It is the first, or the last, of its piece.
    stored : bool
        Its results are complete, and are stored as soon as it has ended.
    opens : bool
        It is the first of its tile that is stored.
    fresh : list of Image
        What is to be loaded: all, or all but the first that the GEMM before keeps.
    keep : bool
    """

    piece: Piece
    images: list[Image]
    step: int
    part: Rectangle
    initial: bool
    load: Instruction | None
    begins: bool = False
    ends: bool = False
    stored: bool = False
    opens: bool = False
    fresh: list[Image] = field(default_factory=list)
    keep: bool = False


class Emitter:
    """Emits a tiled layer.

    Parameters
    ----------
    tiling : Tiling
    images : list of list of list of Image
        Steps by output tile and chunk.
    addresses : Addresses
    """

    def __init__(self, tiling: Tiling, images: list[list[list[Image]]], addresses: Addresses):
        self.tiling = tiling
        self.config: Config = tiling.config
        self.geometry: Geometry = tiling.geometry
        self.layer = tiling.geometry.layer
        self.requantisation = self.layer.requantisation
        self.images = images
        self.addresses = addresses
        self.pieces = pieces(tiling, images)
        self.tiles = self.pieces[-1].tile + 1

    def program(self) -> list[Instruction]:
        products = [self._products(piece) for piece in self.pieces]
        _keep_weights([product for piece in products for product in piece])
        _queue_loads(products[0])
        program: list[Instruction] = []
        for piece, following in zip(products, [*products[1:], []]):
            before = self._first_loads(piece) if piece is products[0] else [[] for _ in piece]
            before[max((i for i, loads in enumerate(before) if loads), default=0)] += self._loads(following)
            for product, loads in zip(piece, before):
                program += [*loads, self._gemm(product)]
                if product.stored:
                    program.append(self._store(product))
        if self.addresses.counters is not None:
            program.append(Instruction(Opcode.STORE_COUNTERS, {"address": self.addresses.counters},
                                       wait=(Queue.STORE,)))
        return program

    # Products

    def _products(self, piece: Piece) -> list[Product]:
        """The program's first piece is taken as its activations come in, a tile's last step as its results go out."""
        if piece is self.pieces[0]:
            cuts = opening(self.tiling, piece)
        else:
            cuts = [Slice(list(range(len(piece.images))), whole(piece) if piece.new else None)]
        last = cuts[-1].steps[-1]
        products: list[Product] = []
        for cut in cuts:
            for run in self._runs(piece, cut.steps, last):
                completes = piece.last and run[-1] == last
                by_parts = completes and self._is_stored_by_parts(piece)
                sizes = self._store_parts(piece) if by_parts else [-(-piece.vectors // cut.parts)]
                parts = rectangles(piece.rows[1], piece.columns[1], sizes)
                begins = run[0] == cut.steps[0]
                regions = loaded_parts(self.tiling, piece, cut, parts) if begins else [None] * len(parts)
                images, initial = [piece.images[step] for step in run], piece.first and not products
                products += [Product(piece, images, run[0], part, initial,
                                     None if region is None else self._load_activations(piece, region),
                                     stored=completes, opens=completes and part is parts[0])
                             for part, region in zip(parts, regions)]
        products[0].begins = products[-1].ends = True
        return products

    def _runs(self, piece: Piece, steps: list[int], last: int) -> list[list[int]]:
        """Steps that one GEMM takes. The piece's last one is taken alone if it is stored by parts, and equal steps are
        parted, so that one keeps the weights for the other."""
        images, alone = piece.images, self._is_stored_by_parts(piece)
        runs = [steps[:1]]
        for a, b in pairwise(steps):
            if b != a + 1 or images[a] == images[b] or (alone and b == last):
                runs.append([])
            runs[-1].append(b)
        return runs

    def _store_cycles(self, piece: Piece) -> int:
        """Of one vector."""
        results = piece.outputs.outputs[1]
        return max(-(-results // self.config.post_lanes),
                   -(-results * self.geometry.result_bytes // self.config.bus_bytes))

    def _is_stored_by_parts(self, piece: Piece) -> bool:
        """The piece ends the program, or a tile that is long in storing."""
        compute = sum(image.planes for images in self.images[piece.output] for image in images)
        long = 2 * self._store_cycles(piece) >= compute and self.tiles <= FEW_TILES
        return piece is self.pieces[-1] or (piece.last and long)

    def _store_parts(self, piece: Piece) -> list[int]:
        compute = max(1, piece.images[-1].planes)
        return tapered(piece.vectors, min(1, self._store_cycles(piece) / compute))

    # Loads

    def _first_loads(self, products: list[Product]) -> list[list[Instruction]]:
        """What comes before each of the first products: in the order in which the array needs it, :data:`AHEAD` loads
        ahead. The weights of a step come among the activations of the one before, parameters before the first store."""
        loads = [[product.load] if product.load else [] for product in products]
        loads[0] = [*_load_weights(self.config, products[0].fresh), *loads[0]]
        runs = [i for i, product in enumerate(products) if i == 0 or product.step != products[i - 1].step]
        for begin, end in pairwise(runs):
            loads[min(begin + AHEAD, end) - 1] += _load_weights(self.config, products[end].fresh)
        stored = next((i for i, product in enumerate(products) if product.stored), len(products) - 1)
        loads[stored] += [*self._load_table(), *self._load_parameters(products[0].piece)]
        filled = [i for i, some in enumerate(loads) if some]
        ahead: list[list[Instruction]] = [[] for _ in products]
        for place, i in enumerate(filled):
            ahead[filled[max(0, place - AHEAD)]] += loads[i]
        return ahead

    def _loads(self, products: list[Product]) -> list[Instruction]:
        if not products:
            return []
        return [*_load_weights(self.config, [image for product in products for image in product.fresh]),
                *(product.load for product in products if product.load is not None),
                *self._load_parameters(products[0].piece)]

    def _load_activations(self, piece: Piece, region: Region) -> Instruction:
        geometry, rows, columns, (channel, channels) = self.geometry, region.rows, region.columns, region.channels
        pixel = piece.loaded_channels[1]
        row_span, column_span = piece.row_span, piece.column_span
        row_stride, column_stride = row_span.step * geometry.row_pitch, column_span.step * geometry.channels
        fields = {
            "address": (self.addresses.x + row_span.start * geometry.row_pitch + rows[0] * row_stride
                        + column_span.start * geometry.channels + columns[0] * column_stride
                        + piece.loaded_channels[0] + channel),
            "buffer_address": self._buffer(piece) + rows[0] * piece.pitch + columns[0] * pixel + channel,
        }
        if channels == pixel == column_stride:  # pixels follow one another on both sides
            row_bytes = columns[1] * channels
            if rows[1] == 1 or row_bytes == row_stride == piece.pitch:  # so do rows
                fields |= {"rows": 1, "row_bytes": rows[1] * row_bytes, "blocks": 1}
            else:
                fields |= {"rows": rows[1], "row_bytes": row_bytes, "stride": row_stride,
                           "buffer_stride": piece.pitch, "blocks": 1}
        else:
            fields |= {"rows": columns[1], "row_bytes": channels, "stride": column_stride, "buffer_stride": pixel,
                       "blocks": rows[1], "block_stride": row_stride, "buffer_block_stride": piece.pitch}
        return Instruction(Opcode.LOAD_ACTIVATIONS, fields, wait=(Queue.COMPUTE,) if piece.load >= 2 else (),
                           signal=(Queue.COMPUTE,))

    def _buffer(self, piece: Piece) -> int:
        return piece.load % 2 * (self.config.act_bytes // 2)

    def _load_table(self) -> list[Instruction]:
        """It is complete before the parameters, for which the first store waits."""
        if self.addresses.table is None:
            return []
        return [Instruction(Opcode.LOAD_TABLE, {"address": self.addresses.table, "table": 1})]

    @property
    def _reloads_parameters(self) -> bool:
        return len(self.tiling.outputs) > 2

    def _needs_parameters(self, piece: Piece) -> bool:
        """The parameters of the piece's tile are not there from before."""
        return self.requantisation is not None and (self._reloads_parameters
                                                    or piece.tile < len(self.tiling.outputs))

    def _parameter_entry(self, piece: Piece) -> int:
        return (piece.tile if self._reloads_parameters else piece.output) % 2 * self.config.out_cols

    def _load_parameters(self, piece: Piece) -> list[Instruction]:
        if not (piece.first and self._needs_parameters(piece)):
            return []
        return [Instruction(Opcode.LOAD_PARAMETERS, {
            "address": self.addresses.parameters + piece.output * self.config.out_cols * PARAMETER_BYTES,
            "channels": self.config.out_cols,
            "channel": self._parameter_entry(piece),
        }, wait=(Queue.STORE,) if self._reloads_parameters and piece.tile >= 2 else (), signal=(Queue.STORE,))]

    # Computation

    def _accumulator(self, product: Product) -> int:
        half = product.piece.tile % 2 * (self.config.acc_vectors // 2)
        return half + product.part.row * product.piece.columns[1] + product.part.column

    def _gemm(self, product: Product) -> Instruction:
        piece, part = product.piece, product.part
        rows, columns, size = piece.row_span, piece.column_span, piece.loaded_channels[1]
        taps = self.tiling.taps(piece.outputs, piece.chunk, columns)
        tap, byte = divmod(product.step * self.config.line_bytes, taps.size)
        tap_row, tap = divmod(tap, taps.taps)
        offset = piece.outputs.channels[0] + piece.chunk.channels[0] - piece.loaded_channels[0]
        fields = {
            "steps": len(product.images),
            "vectors": part.columns,
            "vector_rows": part.rows,
            "acc_vector": self._accumulator(product),
            "act_address": self._buffer(piece),
            "x": (columns.window + part.column * columns.stride) * size + offset,
            "y": (rows.window + part.row * rows.stride + tap_row * rows.dilation) * piece.pitch,
            "x_stride": columns.stride * size,
            "y_stride": rows.stride * piece.pitch,
            "x_end": columns.count * size,
            "y_end": rows.count * piece.pitch,
            "tap_bytes": taps.size,
            "taps": taps.taps,
            "tap_rows": taps.rows - tap_row,
            "tap_x_stride": columns.dilation * size if taps.taps > 1 else 0,
            "tap_y_stride": rows.dilation * piece.pitch if taps.rows > 1 else 0,
            "first_tap": tap,
            "first_x": tap * columns.dilation * size,
            "first_byte": byte,
            "accumulate": int(not product.initial),
            "maximum": int(self.layer.maximum),
            "act_signed": int(self.layer.act_signed),
            "keep": int(product.keep),
            "zero_point": self.layer.zero_point & 0xFF,
        }
        wait = [Queue.LOAD] if product.load is not None else []
        wait += [Queue.STORE] if product.begins and piece.first and piece.tile >= 2 else []
        signal = [Queue.LOAD] if product.ends and piece.frees else []
        signal += [Queue.STORE] if product.stored else []
        return Instruction(Opcode.GEMM, fields, wait=tuple(wait), signal=tuple(signal))

    # Results

    def _store(self, product: Product) -> Instruction:
        """The first store of a tile waits for its parameters, the last one hands on accumulators and parameters."""
        piece, part, geometry = product.piece, product.part, self.geometry
        output, outputs = piece.outputs.outputs
        pixel = ((piece.rows[0] + part.row) * geometry.columns.outputs + piece.columns[0] + part.column)
        result = pixel * self.layer.outputs + output
        fields = {
            "address": self.addresses.y + result * geometry.result_bytes,
            "vectors": part.columns,
            "vector_rows": part.rows,
            "stride": geometry.pixel_results,
            "row_stride": geometry.row_results,
            "acc_vector": self._accumulator(product),
            "channels": outputs,
            "channel": self._parameter_entry(piece),
            "format": OutputFormat.INT32,
        }
        if (r := self.requantisation) is not None:
            fields |= {"format": r.output_format, "zero_point": r.zero_point, "low": r.low, "high": r.high,
                       "table": int(self.addresses.table is not None)}
            if r.residual is not None and self.addresses.residual is not None:
                fields |= {
                    "residual": ResidualFormat.INT8 if r.residual.signed else ResidualFormat.UINT8,
                    "residual_address": self.addresses.residual + result,
                    "residual_stride": geometry.pixel_results,
                    "residual_row_stride": geometry.row_results,
                    "residual_multiplier": int(np.float32(r.residual.multiplier).view(np.uint32)),
                    "residual_zero_point": r.residual.zero_point & 0xFF,
                }
        wait = [Queue.COMPUTE]
        wait += [Queue.LOAD] if product.opens and self._needs_parameters(piece) else []
        if product.ends and piece.tile + 2 < self.tiles:
            hands_on = self._reloads_parameters and self.requantisation is not None
            fields["release"] = 1 << Queue.COMPUTE | hands_on << Queue.LOAD
        counted = product.ends and piece is self.pieces[-1] and self.addresses.counters is not None
        return Instruction(Opcode.STORE, fields, wait=tuple(wait), signal=(Queue.STORE,) if counted else ())


def _keep_weights(products: list[Product]):
    """Notes which products keep their last step for the next, and what each has to load."""
    products[0].fresh = products[0].images
    for product, following in pairwise(products):
        product.keep = product.images[-1] == following.images[0]
        following.fresh = following.images[product.keep:]


def _queue_loads(products: list[Product]):
    """Of the first piece's loads each waits for the one :data:`AHEAD` before."""
    loading = [product for product in products if product.load is not None]
    for i, product in enumerate(loading):
        assert product.load is not None
        if i + AHEAD < len(loading):
            product.load = replace(product.load, signal=(Queue.LOAD, *product.load.signal))
        if i >= AHEAD:
            product.load = replace(product.load, wait=(Queue.LOAD,))


def _load_weights(config: Config, images: list[Image]) -> list[Instruction]:
    """One load for all steps that follow one another in memory."""
    runs: list[list[Image]] = []
    for image in images:
        if not runs or runs[-1][-1].address + runs[-1][-1].bytes != image.address:
            runs.append([])
        runs[-1].append(image)
    return [Instruction(Opcode.LOAD_WEIGHTS, {
        "address": run[0].address, "beats": sum(image.bytes for image in run) // config.bus_bytes,
        "steps": len(run)}) for run in runs]
