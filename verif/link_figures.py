"""What ``cimple bench link`` measures, on two links of the width of the anchor. Results go to ``figures.json``."""

import json
import os
import time
from math import gcd
from pathlib import Path

import cocotb
from cocotb.triggers import ClockCycles, FallingEdge

from hdl.link.link import LinkState
from hdl.link.parameters import LinkParameters

from .link import Pair

#: Environment variable with the parameters of the links, and that of a test's own settings, in JSON.
PARAMETERS, SETTINGS = "CIMPLE_LINK", "CIMPLE_LINK_SETTINGS"

#: Beats that nobody waits for the end of.
ENDLESS = (1 << 32) - 1


def parameters() -> LinkParameters:
    return LinkParameters(**json.loads(os.environ[PARAMETERS]))


def settings() -> dict:
    return json.loads(os.environ[SETTINGS])


def write(figures: dict):
    Path("figures.json").write_text(json.dumps(figures))


async def saturated(pair: Pair):
    """Both directions full, all channels."""
    await pair.up()
    for end in pair.ends:
        end.goal(*[ENDLESS] * pair.parameters.channels)
    await pair.a.cycles(400)


async def finish(pair: Pair):
    """No more beats than those, which must all come."""
    for end in pair.ends:
        end.goal(*(count + 64 for count in end.per_channel("sent")))
    await pair.deliver(50_000)


@cocotb.test()
async def throughput(dut):
    """Payload over line bits while both directions are full, at a bit error rate; then everything must come."""
    p, asked = parameters(), settings()
    pair = Pair(dut, p)
    await pair.start()
    await saturated(pair)
    if asked["rate"]:
        pair.cable.set(interval=round(1 / asked["rate"]))
        await pair.a.cycles(1000)
    begin = {end.name: (sum(end.per_channel("received")), end.counters) for end in pair.ends}
    cycles, started = 0, time.monotonic()
    while True:
        await pair.a.cycles(10_000)
        cycles += 10_000
        beats = [sum(end.per_channel("received")) - begin[end.name][0] for end in pair.ends]
        bad = [end.counters["flits_bad"] - begin[end.name][1]["flits_bad"] for end in pair.ends]
        if min(beats) * p.word_bits // 8 >= asked["bytes"] and sum(bad) >= asked["bad_flits"]:
            break
    seconds = time.monotonic() - started
    pair.cable.set(interval=0)
    await finish(pair)
    wrong = {name: sum(end.number(name) for end in pair.ends) for name in ("lost", "doubled", "corrupt")}
    counters = {name: sum(end.counters[name] - begin[end.name][1][name] for end in pair.ends)
                for name in pair.a.counters}
    write({"rate": asked["rate"], "cycles": cycles, "payload_bytes": sum(beats) * p.word_bits // 8,
           "efficiency": sum(beats) / (2 * cycles), "flits_bad": sum(bad), **wrong, "counters": counters,
           "bit_errors": sum(int(getattr(dut, f"{way}_errors").value) for way in ("ab", "ba")),
           "cycles_per_second": cycles / seconds})


@cocotb.test()
async def latency(dut):
    """Cycles from the offer of a write on an idle link until its first beat has come, and until its last: a header and
    a word, as :mod:`hdl.transport` sends them. For every phase of flits and skip words, how often each was found."""
    p = parameters()
    pair = Pair(dut, p)
    period = p.skip_flits * p.flit_words + 1
    step = next(cycles for cycles in range(8 * p.flit_words + 80, period) if gcd(cycles, period) == 1)
    await pair.start()
    await pair.up()
    await pair.a.cycles(200)
    found: list[dict[int, int]] = [{}, {}]
    for number in range(1, period + 1):
        pair.a.goal(2 * number)
        waited = 0
        while not pair.a.number("i_valid") & 1:
            await FallingEdge(pair.a.clk)
            waited += 1
        begin = waited
        for beat in found:
            while True:
                await FallingEdge(pair.a.clk)
                waited += 1
                if pair.b.number("o_valid") & 1:
                    break
            beat[waited - begin] = beat.get(waited - begin, 0) + 1
        for _ in range(step - waited):
            await FallingEdge(pair.a.clk)
    await pair.deliver(1000)
    write({"beat": found[0], "write": found[1]})


@cocotb.test()
async def recovery(dut):
    """Cycles without payload at an end after a burst, the death of a lane, a cut; and what is left of the rate."""
    p = parameters()
    pair = Pair(dut, p)
    await pair.start()
    await saturated(pair)
    figures = {}

    async def outage(name: str, begin, end_it, length: int, limit: int):
        """Provokes something for some cycles; counts cycles from its end until payload comes again at both ends."""
        begin()
        await pair.a.cycles(length)
        end_it()
        await pair.a.cycles(40)  # what was on the way before
        before = [sum(end.per_channel("received")) for end in pair.ends]
        waited = 40
        while any(sum(end.per_channel("received")) <= then + 8 for end, then in zip(pair.ends, before)):
            await pair.a.cycles(8)
            waited += 8
            assert waited < limit, name
        await pair.a.cycles(2000)
        then = sum(pair.b.per_channel("received"))
        await ClockCycles(pair.a.clk, 4000)
        assert all(end.state == LinkState.UP for end in pair.ends)
        figures[name] = {"cycles": waited, "rate_after": (sum(pair.b.per_channel("received")) - then) / 4000,
                         "lanes": int(pair.a.masks.transmit).bit_count(),
                         "retrains": max(end.counters["retrains"] for end in pair.ends)}

    cable = pair.cable
    await outage("burst of 64 cycles", lambda: cable.set(burst=1), lambda: cable.set(burst=0), 64, 20_000)
    await outage("burst of 2000 cycles", lambda: cable.set(burst=1), lambda: cable.set(burst=0), 2000, 20_000)
    await outage("cut of 10000 cycles", lambda: cable.cut(), lambda: cable.cut(False), 10_000, 80_000)
    await outage("death of a lane", lambda: cable.set("ab", dead=1 << p.lanes // 2), lambda: None, 0, 80_000)
    cable.set(dead=0)
    for end in pair.ends:
        end.control(retrain=1)
        await end.cycles(2)
        end.control(retrain=0)
    await outage("return of the lane, asked for", lambda: None, lambda: None, 0, 80_000)
    await finish(pair)
    write(figures)
