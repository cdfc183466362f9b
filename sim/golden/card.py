"""Chips of a card that execute together: SEND, RECV, semaphores and the windows that partners may write."""

from collections.abc import Sequence

import numpy as np

from hdl.config import BURST_BOUNDARY, Config
from hdl.csr import SEMAPHORE_BITS, Cause
from hdl.isa import Instruction
from hdl.program import Program
from hdl.topology import check_card, partner
from hdl.transport.packet import MAX_BEATS

from .core import Stop
from .executor import Execution, Machine


class Deadlock(RuntimeError):
    """Programs of a card wait for one another; the message names who waits for what."""


def execute_card(config: Config, programs: Sequence[Program], memories: Sequence[np.ndarray], *,
                 seed: int = 0) -> list[Execution]:
    """Runs a program on each chip of a card, until all have ended or none can go on.

    As in :func:`~sim.golden.executor.execute`, ``seed`` chooses among all that can move, on whichever chip. A SEND is
    carried out at once: no instruction sees half of it. If a chip stops with a cause, chips that wait for it have cause
    ``WATCHDOG``.

    Parameters
    ----------
    programs : Program of each chip
        Its ``remote`` is what partners may write.
    memories : uint8 [bytes], of each chip
        Not changed.

    Raises
    ------
    ConfigError
        If there are no such cards of this configuration.
    Deadlock
        If no chip has stopped and none can go on.
    ValueError
        As :func:`~sim.golden.executor.execute`.
    """
    if len(programs) > 1:
        check_card(len(programs), config.links)
    rng = np.random.default_rng(seed)
    card = _Card(config, programs, memories, rng)
    while moving := [machine for machine in card.machines if not machine.done]:
        if not any(moving[i].advance() for i in rng.permutation(len(moving))):
            break
    if moving and not any(machine.stopped for machine in card.machines):
        waiting = "; ".join(f"chip {chip}: {', '.join(machine.waiting())}"
                            for chip, machine in enumerate(card.machines) if not machine.done)
        raise Deadlock(f"the card is stuck, waiting are {waiting}")
    return [machine.execution() for machine in card.machines]


class _Card:
    """The chips, and what a SEND does on the way from one to another."""

    def __init__(self, config: Config, programs: Sequence[Program], memories: Sequence[np.ndarray],
                 rng: np.random.Generator):
        self.config = config
        self.programs = programs
        self.machines = [Machine(config, memory, program.entry, program.count, rng, self._sender(chip))
                         for chip, (program, memory) in enumerate(zip(programs, memories, strict=True))]

    def _sender(self, chip: int):
        """The function that carries out a SEND of this chip; None if there is no other chip."""
        return None if len(self.programs) == 1 else lambda f: self._send(chip, f)

    def _send(self, chip: int, f: Instruction):
        other, _ = partner(len(self.programs), chip, f["port"])
        there, refused = self.machines[other], None
        for row, content in enumerate(self.machines[chip].core.sent(f)):
            for address, piece in self._packets(f["remote_address"] + row * f["remote_stride"], content):
                if self._allows(other, address, len(piece)):
                    there.core.memory[address:address + len(piece)] = piece
                elif refused is None:
                    refused = address
        if refused is not None:
            raise Stop(Cause.REMOTE_WINDOW, refused)
        if f["post"]:
            if there.semaphores[f["semaphore"]] == (1 << SEMAPHORE_BITS) - 1:
                raise Stop(Cause.REMOTE_SEMAPHORE, f["semaphore"])
            there.semaphores[f["semaphore"]] += 1

    def _packets(self, address: int, content: np.ndarray):
        """Address and bytes of each packet of a row: whole bus words of one page but for the row's ends."""
        limit, begin = MAX_BEATS * self.config.bus_bytes, 0
        while begin < len(content):
            here = address + begin
            end = min(here - here % self.config.bus_bytes + limit, here - here % BURST_BOUNDARY + BURST_BOUNDARY)
            yield here, content[begin:begin + end - here]
            begin += end - here

    def _allows(self, chip: int, address: int, length: int) -> bool:
        """Windows are checked by whole bus words."""
        first, end = self.programs[chip].remote
        bus = self.config.bus_bytes
        return first // bus <= address // bus and -(-(address + length) // bus) <= -(-end // bus)
