"""Legal instructions that fill their storage to the last entry, and every way to break a rule of them."""

from hdl.config import ADDR_BITS, INSTRUCTION_BYTES, Config
from hdl.csr import SEMAPHORES, Cause
from hdl.isa import (
    ADDRESSES,
    ALIGNED,
    FIELDS,
    RESIDUAL_EXPONENT_END,
    TABLES,
    Field,
    Instruction,
    Opcode,
    OutputFormat,
    ResidualFormat,
    body_layout,
    head_layout,
    illegal_fields,
    instruction_layout,
    opcodes,
    parameter_entries,
    queues,
)

#: Fields that have rules of their own.
RULED = {
    Opcode.LOAD_WEIGHTS: ("address", "steps", "beats"),
    Opcode.LOAD_ACTIVATIONS: ("address", "row_bytes", "rows", "blocks", "buffer_address"),
    Opcode.LOAD_PARAMETERS: ("address", "channels", "channel"),
    Opcode.LOAD_TABLE: ("address", "table"),
    Opcode.GEMM: ("steps", "vectors", "vector_rows", "acc_vector", "act_address", "x_end", "y_end", "tap_bytes", "taps",
                  "tap_rows", "first_tap", "first_byte", "padding"),
    Opcode.TEST: ("macro", "begin", "padding"),
    Opcode.STORE: ("address", "residual_address", "vectors", "vector_rows", "acc_vector", "channels", "channel",
                   "format", "table", "residual", "padding", "release", "low", "high", "residual_multiplier",
                   "residual_zero_point"),
    Opcode.STORE_COUNTERS: ("address",),
    Opcode.SEND: ("address", "remote_address", "row_bytes", "remote_stride", "port", "post", "semaphore", "release"),
    Opcode.RECV: ("port", "padding", "semaphore", "count"),
}

#: Fields that only matter to the rule of another one.
FACTORS = {Opcode.LOAD_ACTIVATIONS: ("buffer_stride", "buffer_block_stride"), Opcode.TEST: ("end",),
           Opcode.SEND: ("rows", "stride")}


def rules(config: Config) -> list[tuple[Opcode, str]]:
    """Every rule, as opcode and field, head and reserved bits included: what :func:`broken_rules` can find."""
    return [(opcode, name) for opcode in opcodes(config)
            for name in (*RULED[opcode], "wait", "signal", "reserved head",
                         *(["reserved body"] if "reserved" in body_layout(opcode).members
                           and body_layout(opcode)["reserved"].width else []))]


def broken_rules(config: Config, record: bytes) -> tuple[Cause, set[tuple[Opcode, str]]]:
    """Why a record is illegal: by opcode, or by which fields. Unlike ``Instruction.decode`` it finds all of them."""
    if record[0] not in opcodes(config):
        return Cause.ILLEGAL_OPCODE, set()
    opcode = Opcode(record[0])
    head = head_layout().from_bits(int.from_bytes(record[:8], "little"))
    body = body_layout(opcode).from_bits(int.from_bytes(record[8:], "little"))
    unknown = ~sum(1 << q for q in queues(config))
    found = {(opcode, name) for name in ("wait", "signal") if head[name] & unknown}
    reserved = {"reserved head": head.reserved, "reserved body": body.reserved}
    found |= {(opcode, name) for name, bits in reserved.items() if bits}
    instruction = Instruction(opcode, {name: body[name] for name in FIELDS[opcode]})
    found |= {(opcode, sentence.split()[1]) for sentence in illegal_fields(config, instruction)}
    return (Cause.ILLEGAL_FIELD if found else Cause.NONE), found


def encoded(opcode: Opcode, fields: dict[str, int], wait: int = 0, signal: int = 0) -> bytes:
    """A record, legal or not."""
    value = instruction_layout(opcode).const({"head": {"opcode": opcode, "wait": wait, "signal": signal},
                                              "body": fields}).as_bits()
    return value.to_bytes(INSTRUCTION_BYTES, "little")


def limits(field: Field) -> tuple[int, int]:
    """Smallest and largest value of a field."""
    return (-1 << field.bits - 1, (1 << field.bits - 1) - 1) if field.signed else (0, (1 << field.bits) - 1)


def legal(config: Config, opcode: Opcode) -> dict[str, int]:
    """A legal instruction that fills its storage to the last entry."""
    top, word = (1 << ADDR_BITS) - 1, (1 << ADDR_BITS) - config.bus_bytes
    every_queue = (1 << len(queues(config))) - 1
    per_beat, entries = config.bus_bytes // 8, parameter_entries(config)
    return {
        Opcode.LOAD_WEIGHTS: {"address": word, "beats": 1, "steps": 1},
        Opcode.LOAD_ACTIVATIONS: {"address": top, "row_bytes": 3, "rows": 2, "blocks": 2, "stride": 1,
                                  "buffer_address": config.act_bytes - 17, "buffer_stride": 5,
                                  "buffer_block_stride": 9},
        Opcode.LOAD_PARAMETERS: {"address": word, "channels": entries - per_beat, "channel": per_beat},
        Opcode.LOAD_TABLE: {"address": word, "table": TABLES},
        Opcode.GEMM: {"steps": 2, "vectors": 2, "vector_rows": 2, "acc_vector": config.acc_vectors - 4,
                      "act_address": config.act_bytes - 1, "x_end": config.act_bytes, "y_end": config.act_bytes,
                      "tap_bytes": 3, "taps": 2, "tap_rows": 2, "first_tap": 1, "first_byte": 2, "zero_point": 255},
        Opcode.TEST: {"macro": config.macros - 1, "begin": 1},
        Opcode.STORE: {"address": top, "vectors": 2, "vector_rows": 2, "acc_vector": config.acc_vectors - 4,
                       "channels": config.out_cols, "channel": entries - config.out_cols, "format": OutputFormat.INT8,
                       "table": TABLES, "residual": ResidualFormat.UINT8, "release": every_queue, "zero_point": -1,
                       "low": -128, "high": 127, "residual_address": top,
                       "residual_multiplier": 1 << 31 | (RESIDUAL_EXPONENT_END << 23) - 1,
                       "residual_zero_point": 255},
        Opcode.STORE_COUNTERS: {"address": top},
        Opcode.SEND: {"address": top, "remote_address": top, "row_bytes": (1 << 24) - 1, "rows": (1 << 16) - 1,
                      "stride": 1, "remote_stride": 1 + config.bus_bytes, "port": config.links - 1, "post": 1,
                      "semaphore": SEMAPHORES - 1, "release": every_queue},
        Opcode.RECV: {"port": config.links - 1, "semaphore": SEMAPHORES - 1, "count": 1},
    }[opcode]


#: Opcode, changes to the fields of its legal instruction, and the fields whose rules they break.
Change = tuple[Opcode, dict[str, int], tuple[str, ...]]


def changes(config: Config) -> list[Change]:
    """Changes to the legal instruction, and the fields whose rules they break: just so and each for itself, but where
    one rule cannot be broken without another. None: still legal."""
    found: list[Change] = [(opcode, {}, ()) for opcode in opcodes(config)]
    for opcode in opcodes(config):
        for name, field in FIELDS[opcode].items():
            if name not in RULED[opcode] + FACTORS.get(opcode, ()):
                found += [(opcode, {name: value}, ()) for value in limits(field)]
    found += _addresses(config) + _loads(config) + _gemm(config) + _test(config) + _store(config)
    return found + _send(config) + _recv(config) if config.links else found


def _addresses(config: Config) -> list[Change]:
    found: list[Change] = []
    for opcode in opcodes(config):
        if opcode == Opcode.SEND:
            continue  # whose addresses have a rule together
        for name in set(ADDRESSES) & set(FIELDS[opcode]):
            within = range((config.bus_bytes - 1).bit_length())
            found += [(opcode, {name: 1 << bit}, (name,) if opcode in ALIGNED else ()) for bit in within]
            found += [(opcode, {name: 1 << bit}, (name,)) for bit in range(ADDR_BITS, 64)]
            found += [(opcode, {name: 0}, ()), (opcode, {name: 1 << ADDR_BITS - 1}, ())]
    return found


def _loads(config: Config) -> list[Change]:
    weights, acts = Opcode.LOAD_WEIGHTS, Opcode.LOAD_ACTIVATIONS
    parameters, table = Opcode.LOAD_PARAMETERS, Opcode.LOAD_TABLE
    size, top16, top24 = config.act_bytes, (1 << 16) - 1, (1 << 24) - 1
    per_beat, entries = config.bus_bytes // 8, parameter_entries(config)
    beyond, one = ("buffer_address",), {"rows": 1, "blocks": 1}
    found: list[Change] = [
        (weights, {"steps": 0}, ("steps",)), (weights, {"beats": 0}, ("beats",)),
        (weights, {"steps": (1 << 32) - 1, "beats": (1 << 32) - 1}, ()),
        (acts, {"row_bytes": 0}, ("row_bytes",)), (acts, {"rows": 0}, ("rows",)), (acts, {"blocks": 0}, ("blocks",)),
        (acts, {"row_bytes": 4}, beyond), (acts, {"rows": 3}, beyond), (acts, {"blocks": 3}, beyond),
        (acts, {"buffer_address": size - 16}, beyond), (acts, {"buffer_stride": 6}, beyond),
        (acts, {"buffer_block_stride": 10}, beyond), (acts, {"row_bytes": top24}, beyond),
        (acts, one | {"buffer_address": size - 3}, ()), (acts, one | {"buffer_address": size - 2}, beyond),
        (acts, one | {"buffer_address": size - 1, "row_bytes": 1}, ()),
        (acts, one | {"buffer_address": size, "row_bytes": 1}, beyond),
        (acts, one | {"buffer_address": 0, "row_bytes": size}, ()),
        (acts, one | {"buffer_address": 0, "row_bytes": size + 1}, beyond),
        (acts, one | {"buffer_address": top24, "row_bytes": 1}, beyond),
        (acts, one | {"buffer_stride": top24, "buffer_block_stride": top24}, ()),
        (acts, {"rows": top16, "blocks": top16, "buffer_stride": 0, "buffer_block_stride": 0}, ()),
        (acts, {"rows": top16, "buffer_stride": top24}, beyond),
        (acts, {"blocks": top16, "buffer_block_stride": top24}, beyond),
        # sums and products that are nothing modulo 2^24 and 2^32
        (acts, {"rows": 1 + (1 << 8), "buffer_stride": 1 << 16}, beyond),
        (acts, {"blocks": 1 + (1 << 8), "buffer_block_stride": 1 << 16}, beyond),
        (acts, {"rows": 1 + (1 << 15), "buffer_stride": 1 << 17}, beyond),
        (acts, {"buffer_address": 1 << 23, "buffer_stride": 1 << 23, "blocks": 1}, beyond),
        (parameters, {"channels": 0}, ("channels",)), (parameters, {"channels": entries}, ("channel",)),
        (parameters, {"channels": entries, "channel": 0}, ()),
        (parameters, {"channels": per_beat, "channel": entries}, ("channel",)),
        (parameters, {"channels": per_beat, "channel": entries - per_beat}, ()),
        (parameters, {"channels": per_beat, "channel": (1 << 16) - per_beat}, ("channel",)),
        (parameters, {"channels": (1 << 16) - per_beat, "channel": per_beat}, ("channel",)),
        (table, {"table": 0}, ("table",)), (table, {"table": 1}, ()), (table, {"table": TABLES + 1}, ("table",)),
        (table, {"table": 255}, ("table",)),
    ]
    if per_beat > 1:
        found += [(parameters, {"channels": per_beat - 1}, ("channels",)),
                  (parameters, {"channel": 1, "channels": per_beat}, ("channel",))]
    return found


def _test(config: Config) -> list[Change]:
    test = Opcode.TEST
    return [
        (test, {"macro": config.macros}, ("macro",)), (test, {"macro": 255}, ("macro",)), (test, {"macro": 0}, ()),
        (test, {"begin": 0}, ("begin",)), (test, {"begin": 0, "end": 1}, ()), (test, {"end": 1}, ()),
        *((test, {"padding": 1 << bit}, ("padding",)) for bit in range(FIELDS[test]["padding"].bits)),
    ]


def _accumulators(config: Config, opcode: Opcode) -> list[Change]:
    """What GEMM and STORE have in common."""
    top, most, beyond = (1 << 16) - 1, config.acc_vectors, ("acc_vector",)
    return [
        (opcode, {"vectors": 0}, ("vectors",)), (opcode, {"vector_rows": 0}, ("vector_rows",)),
        (opcode, {"vectors": 3}, beyond), (opcode, {"vector_rows": 3}, beyond),
        (opcode, {"acc_vector": most - 3}, beyond), (opcode, {"acc_vector": top}, beyond),
        (opcode, {"acc_vector": most - 1, "vectors": 1, "vector_rows": 1}, ()),
        (opcode, {"acc_vector": most, "vectors": 1, "vector_rows": 1}, beyond),
        (opcode, {"acc_vector": 0, "vectors": most, "vector_rows": 1}, ()),
        (opcode, {"acc_vector": 0, "vectors": 1, "vector_rows": most}, ()),
        (opcode, {"acc_vector": 0, "vectors": most + 1, "vector_rows": 1}, beyond),
        (opcode, {"acc_vector": 0, "vectors": 1, "vector_rows": most + 1}, beyond),
        (opcode, {"acc_vector": 0, "vectors": 1 << 8, "vector_rows": 1 << 8}, beyond),
        (opcode, {"acc_vector": 0, "vectors": 1 << 15, "vector_rows": 1 << 15}, beyond),
        (opcode, {"acc_vector": top, "vectors": top, "vector_rows": top}, beyond),
    ]


def _gemm(config: Config) -> list[Change]:
    gemm, size, top24 = Opcode.GEMM, config.act_bytes, (1 << 24) - 1
    found = _accumulators(config, gemm)
    found += [
        (gemm, {"steps": 0}, ("steps",)), (gemm, {"steps": (1 << 16) - 1}, ()),
        (gemm, {"tap_rows": 0}, ("tap_rows",)), (gemm, {"tap_rows": 255}, ()),
        (gemm, {"taps": 0, "first_tap": 0}, ("taps", "first_tap")), (gemm, {"taps": 1}, ("first_tap",)),
        (gemm, {"taps": 255, "first_tap": 254}, ()), (gemm, {"taps": 255, "first_tap": 255}, ("first_tap",)),
        (gemm, {"taps": 1, "first_tap": 0}, ()), (gemm, {"first_tap": 2}, ("first_tap",)),
        (gemm, {"tap_bytes": 0, "first_byte": 0}, ("tap_bytes", "first_byte")),
        (gemm, {"tap_bytes": 2}, ("first_byte",)), (gemm, {"first_byte": 3}, ("first_byte",)),
        (gemm, {"tap_bytes": top24, "first_byte": top24 - 1}, ()), (gemm, {"tap_bytes": 1, "first_byte": 0}, ()),
        (gemm, {"tap_bytes": top24, "first_byte": top24}, ("first_byte",)),
        (gemm, {"act_address": 0}, ()), (gemm, {"act_address": size}, ("act_address",)),
        (gemm, {"act_address": top24}, ("act_address",)),
    ]
    for name in ("x_end", "y_end"):
        found += [(gemm, {name: 0}, ()), (gemm, {name: size + 1}, (name,)), (gemm, {name: top24}, (name,))]
    return found + [(gemm, {"padding": 1 << bit}, ("padding",)) for bit in range(FIELDS[gemm]["padding"].bits)]


def _store(config: Config) -> list[Change]:
    store, entries = Opcode.STORE, parameter_entries(config)
    int32 = {"format": OutputFormat.INT32, "table": 0, "residual": 0}
    uint8 = {"format": OutputFormat.UINT8, "low": 0, "high": 255}
    added = {"residual": ResidualFormat.INT32, "residual_multiplier": 0, "residual_zero_point": 0}
    found = _accumulators(config, store)
    found += [
        (store, {"channels": 0}, ("channels",)), (store, {"channels": 1}, ()),
        (store, {"channels": config.out_cols + 1, "channel": 0}, ("channels",)),
        (store, {"channels": (1 << 16) - 1, "channel": 0}, ("channels", "channel")),
        (store, {"channel": entries - config.out_cols + config.post_lanes}, ("channel",)),
        (store, {"channel": 1 << 15, "channels": 1}, ("channel",)), (store, {"channel": 0}, ()),
        (store, {"channel": entries - config.post_lanes, "channels": config.post_lanes}, ()),
        (store, {"format": 3}, ("format",)), (store, {"format": 15}, ("format",)),
        (store, {"format": 3, "low": -1 << 15}, ("format",)),
        (store, int32, ()), (store, int32 | {"low": 1, "high": -1}, ()), (store, int32 | {"table": 1}, ("table",)),
        (store, int32 | {"residual": 1}, ("residual",)), (store, int32 | {"residual": 2}, ("residual",)),
        (store, int32 | added, ()), (store, int32 | added | {"table": 1}, ("table",)),
        (store, added, ()), (store, uint8 | added, ()),
        (store, {"table": 0}, ()), (store, {"table": TABLES + 1}, ("table",)), (store, {"table": 15}, ("table",)),
        (store, {"residual": 0}, ()), (store, {"residual": 1}, ()),
        *((store, {"residual": residual}, ("residual",)) for residual in (4, 7, 8, 12, 15)),
        (store, {"residual_zero_point": 0}, ()), (store, {"residual_zero_point": 128}, ()),
        (store, {"low": -129}, ("low",)), (store, {"low": 1, "high": 0}, ("low",)), (store, {"high": 128}, ("high",)),
        (store, {"low": -128, "high": -128}, ()), (store, {"low": 127}, ()),
        (store, {"low": -1 << 15}, ("low",)), (store, {"high": (1 << 15) - 1}, ("high",)),
        (store, uint8, ()), (store, uint8 | {"low": -1}, ("low",)), (store, uint8 | {"high": 256}, ("high",)),
        (store, uint8 | {"low": 255}, ()), (store, {"release": 0}, ()),
        (store, {"residual_multiplier": (RESIDUAL_EXPONENT_END << 23) - 1}, ()),
        (store, {"residual_multiplier": 0}, ()), (store, {"residual_multiplier": 1 << 31}, ()),
        (store, {"residual_multiplier": 0xFFFF_FFFF}, ("residual_multiplier",)),
        # refused even if there is no residual
        (store, {"residual": 0, "residual_multiplier": 0x7F80_0000}, ("residual_multiplier",)),
    ]
    found += [(store, added | {"residual_zero_point": 1 << bit}, ("residual_zero_point",)) for bit in range(8)]
    found += [(store, added | {"residual_multiplier": 1 << bit}, ("residual_multiplier",)) for bit in range(32)]
    for sign in (0, 1 << 31):
        found += [(store, {"residual_multiplier": sign | exponent << 23}, ("residual_multiplier",))
                  for exponent in (RESIDUAL_EXPONENT_END, RESIDUAL_EXPONENT_END + 1, 254, 255)]
    if config.post_lanes > 1:
        found.append((store, {"channel": 1, "channels": 1}, ("channel",)))
    found += _masks(config, store, "release")
    return found + [(store, {"padding": 1 << bit}, ("padding",)) for bit in range(FIELDS[store]["padding"].bits)]


def _masks(config: Config, opcode: Opcode, name: str) -> list[Change]:
    """Each queue alone."""
    return [(opcode, {name: 1 << bit}, (name,) if bit >= len(queues(config)) else ()) for bit in range(8)]


def _send(config: Config) -> list[Change]:
    send, bus = Opcode.SEND, config.bus_bytes
    within = range((bus - 1).bit_length())
    found: list[Change] = [
        (send, {"rows": 0}, ()), (send, {"rows": 0, "row_bytes": 0}, ()), (send, {"row_bytes": 0}, ("row_bytes",)),
        (send, {"rows": 1, "row_bytes": 0}, ("row_bytes",)), (send, {"row_bytes": 1}, ()),
        (send, {"address": 0, "remote_address": 0}, ()), (send, {"post": 0}, ()),
        (send, {"stride": 0, "remote_stride": bus}, ()),
        (send, {"stride": bus - 1, "remote_stride": (1 << 32) - 1}, ()),
        (send, {"stride": (1 << 32) - 1}, ("remote_stride",)), (send, {"remote_stride": 0}, ("remote_stride",)),
        (send, {"semaphore": 0}, ()), *((send, {"post": 1 << bit}, ("post",)) for bit in (1, 2, 3)),
        (send, {"post": 3}, ("post",)), *((send, {"port": port}, ()) for port in range(config.links)),
        *((send, {"port": port}, ("port",)) for port in range(config.links, 16)),
        *((send, {"semaphore": SEMAPHORES << bit}, ("semaphore",)) for bit in range(4)),
    ]
    for bit in within:
        found += [(send, {"address": 1 << bit, "remote_address": 0}, ("remote_address",)),
                  (send, {"address": 1 << bit, "remote_address": bus | 1 << bit}, ()),
                  (send, {"address": 0, "remote_address": 1 << bit}, ("remote_address",)),
                  (send, {"stride": 1 << bit, "remote_stride": 0}, ("remote_stride",)),
                  (send, {"stride": 0, "remote_stride": 1 << bit}, ("remote_stride",))]
    for bit in range(ADDR_BITS, 64):
        found += [(send, {"address": 1 << bit, "remote_address": 0}, ("address",)),
                  (send, {"address": 0, "remote_address": 1 << bit}, ("remote_address",))]
    return found + _masks(config, send, "release")


def _recv(config: Config) -> list[Change]:
    recv = Opcode.RECV
    return [
        (recv, {"count": 0}, ("count",)), (recv, {"count": (1 << 16) - 1}, ()), (recv, {"semaphore": 0}, ()),
        *((recv, {"padding": 1 << bit}, ("padding",)) for bit in range(4)),
        *((recv, {"port": port}, ()) for port in range(config.links)),
        *((recv, {"port": port}, ("port",)) for port in range(config.links, 16)),
        *((recv, {"semaphore": SEMAPHORES << bit}, ("semaphore",)) for bit in range(4)),
    ]
