"""Lowers one layer to a program: layer, geometry, tiling, pieces, instructions."""

from hdl.config import INSTRUCTION_BYTES, Config
from hdl.csr import COUNTERS
from hdl.isa import illegal_fields
from hdl.program import Program

from . import weights
from .emit import Addresses, Emitter
from .geometry import Geometry
from .layer import Layer, LayerError
from .memory import Memory
from .tiling import search


def lower(config: Config, layer: Layer, image: int | tuple[int, int], *, counters: bool = False) -> Program:
    """The program that computes ``y = layer(x)``, with a third tensor ``residual`` of y's shape if the layer has one.

    Tensors are dense in memory, see :mod:`compiler.geometry`. Weights are streamed once per vector tile, unless a tile
    begins with the step with which the one before ends.

    Parameters
    ----------
    image : int or (int, int)
        Vectors of a fully connected layer: ``x`` is [vectors, inputs], ``y`` [vectors, outputs]. Or height and width:
        ``x`` is [height, width, channels], ``y`` [rows, columns, outputs].
    counters : bool
        The program ends by storing the chip's counters, see :attr:`Program.counters`.

    Raises
    ------
    LayerError
        If the layer does not fit the image or the configuration.
    """
    weights.check(config, layer)
    if isinstance(image, int):
        geometry = Geometry.of_vectors(layer, image)
        x_shape: tuple[int, ...] = (image, layer.channels)
        y_shape: tuple[int, ...] = (image, layer.outputs)
    else:
        geometry = Geometry.of_image(config, layer, *image)
        x_shape, y_shape = (*image, layer.channels), (geometry.rows.outputs, geometry.columns.outputs, layer.outputs)
    tiling = search(config, geometry)

    memory = Memory()
    images, packed = weights.pack(tiling, memory.end)
    memory.place(packed)
    parameters = memory.place(weights.parameters(config, layer, [tile.outputs for tile in tiling.outputs]))
    r = layer.requantisation
    table = None if r is None or r.table is None else memory.place(r.table.tobytes())
    inputs = {"x": memory.tensor(x_shape, layer.act_dtype)}
    if layer.residual is not None:
        inputs["residual"] = memory.tensor(y_shape, layer.residual.dtype)
    y = memory.tensor(y_shape, layer.output_dtype)
    counted = memory.reserve(8 * len(COUNTERS)) if counters else None
    writable = (y.address, y.end if counted is None else counted + 8 * len(COUNTERS))

    addresses = Addresses(inputs["x"].address, y.address, parameters, table,
                          inputs["residual"].address if "residual" in inputs else None, counted)
    try:
        instructions = Emitter(tiling, images, addresses).program()
    except ValueError as error:  # a field is too narrow
        raise LayerError(f"the layer does not fit {config.name!r}: {error}") from None
    for instruction in instructions:
        for rule in illegal_fields(config, instruction):
            raise LayerError(f"the layer does not fit {config.name!r}: {rule}")
    entry = memory.reserve(len(instructions) * INSTRUCTION_BYTES)
    return Program.assemble(config, instructions, entry=entry, segments=memory.segments, memory_bytes=memory.end,
                            inputs=inputs, outputs={"y": y}, writable=writable, counters=counted)
