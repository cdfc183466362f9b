"""A monitor of the chip's AXI4 master port: the rules of the protocol, cycle by cycle."""

from collections import Counter, deque
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge

from hdl.config import BURST_BOUNDARY, MAX_BURST_BEATS, Config

_FIELDS = {"aw": ("id", "addr", "len", "size", "burst"), "ar": ("id", "addr", "len", "size", "burst"),
           "w": ("data", "strb", "last")}
_INCR = 1


class AxiRules:
    """Watches ``m_axi_*`` from the moment it is made.

    Asserts: what is valid stays, and unchanged, until it is taken; bursts are of whole aligned bus words, at most 64,
    and cross no 4 KiB boundary; words of a write follow its address once that is shown, are as many as announced, and
    WLAST marks the last; responses are always accepted; every word has strobes, of neighbouring bytes, and only for
    bytes of :attr:`writable`; only :attr:`windows` are touched.

    Attributes
    ----------
    windows : list of (first byte, first byte after it, may read, may write), or None
    writable : (base, bool [bytes]), or None
        Bytes that may be written; None: any strobes are right.
    counts : Counter
        Handshakes by channel.
    reads_open, writes_open : int
        Bursts that have been shown and are not yet answered.
    """

    def __init__(self, dut: Any, config: Config):
        self.config = config
        self.windows: list[tuple[int, int, bool, bool]] | None = None
        self.writable: tuple[int, np.ndarray] | None = None
        self.counts: Counter[str] = Counter()
        self.longest_burst = 0
        self._dut = dut
        self._pins = {name: (getattr(dut, f"m_axi_{name}valid"), getattr(dut, f"m_axi_{name}ready"))
                      for name in ("aw", "w", "ar", "r", "b")}
        self._payloads = {name: tuple(getattr(dut, f"m_axi_{name}{field}") for field in fields)
                          for name, fields in _FIELDS.items()}
        self._forget()
        self._task = cocotb.start_soon(self._watch())

    @property
    def reads_open(self) -> int:
        return sum(map(len, self._reads.values()))

    @property
    def writes_open(self) -> int:
        return self._answers_due + len(self._writes)

    def _forget(self):
        self._shown: dict[str, tuple[int, ...]] = {}
        self._reads: dict[int, deque[int]] = {}
        self._writes: deque[tuple[int, int]] = deque()  # address and beats of bursts whose words have not all come
        self._beat = 0
        self._answers_due = 0
        self._addresses_taken = 0  # of bursts that are not answered

    async def _watch(self):
        edge = RisingEdge(self._dut.clk)
        while True:
            await edge
            if self._dut.rst.value == 1:
                self._forget()
                continue
            for name in ("aw", "ar", "w"):
                self._request(name)
            for name, check in (("b", self._written), ("r", self._read)):
                valid, ready = self._pins[name]
                assert ready.value == 1, f"m_axi_{name}ready must always be high"
                if valid.value == 1:
                    self.counts[name] += 1
                    check()

    def _request(self, name: str):
        valid, ready = self._pins[name]
        if valid.value != 1:
            assert valid.value == 0, f"m_axi_{name}valid must be known"
            assert name not in self._shown, f"m_axi_{name}valid must stay until it is taken"
            return
        payload = tuple(int(pin.value) for pin in self._payloads[name])
        if name not in self._shown and name != "w":
            self._burst(name, *payload)
        assert self._shown.setdefault(name, payload) == payload, f"m_axi_{name}* must not change until it is taken"
        if ready.value == 1:
            del self._shown[name]
            self.counts[name] += 1
            if name == "w":
                self._word(*payload)
            elif name == "aw":
                self._addresses_taken += 1

    def _burst(self, name: str, identifier: int, address: int, length: int, size: int, burst: int):
        bus, beats = self.config.bus_bytes, length + 1
        end = address + beats * bus
        self.longest_burst = max(self.longest_burst, beats)
        assert (1 << size, burst) == (bus, _INCR), f"{name} must be an INCR burst of bus words"
        assert address % bus == 0, f"{name} address must be a multiple of {bus}, not {address:#x}"
        assert beats <= MAX_BURST_BEATS, f"{name} must have at most {MAX_BURST_BEATS} beats, not {beats}"
        assert address // BURST_BOUNDARY == (end - 1) // BURST_BOUNDARY, f"{name} {address:#x} crosses 4 KiB"
        if self.windows is not None:
            assert any(first <= address and end <= limit and (write if name == "aw" else read)
                       for first, limit, read, write in self.windows), f"{name} {address:#x} is in no window"
        if name == "ar":
            queue = self._reads.setdefault(identifier, deque())
            queue.append(beats)
            assert len(queue) <= self.config.outstanding_reads, f"more than {self.config.outstanding_reads} reads open"
        else:
            self._writes.append((address, beats))

    def _word(self, _data: int, strobes: int, last: int):
        assert self._writes, "a word must not be taken before its address is shown"
        address, beats = self._writes[0]
        if self.writable is not None:
            base, allowed = self.writable
            at = address + self._beat * self.config.bus_bytes - base
            contiguous = strobes > 0 and strobes & (strobes + (strobes & -strobes)) == 0
            assert contiguous, f"wstrb must be neighbouring bytes, not {strobes:#b}"
            for byte in range(self.config.bus_bytes):
                assert not strobes >> byte & 1 or allowed[at + byte], f"byte {base + at + byte:#x} must not be written"
        self._beat += 1
        assert last == (self._beat == beats), f"wlast is {last} at beat {self._beat} of {beats}"
        if last:
            self._beat = 0
            self._writes.popleft()
            self._answers_due += 1

    def _written(self):
        complete = min(self._answers_due, self._addresses_taken)
        assert complete > 0, "the memory answers a write that is not complete"
        self._answers_due -= 1
        self._addresses_taken -= 1

    def _read(self):
        identifier, last = int(self._dut.m_axi_rid.value), int(self._dut.m_axi_rlast.value)
        queue = self._reads[identifier]
        queue[0] -= 1
        assert last == (queue[0] == 0), "the memory ends a burst at the wrong beat"
        if last:
            queue.popleft()
