"""Two links on a cable: training, replay, credits, loopbacks, injected errors, and the ways down.

Traffic and cable are in the simulator (``sim/rtl/link_pair.py``); every beat is a function of channel and number, so a
loss, a doubling, an exchange and a corruption are counted each by itself, and all have to be zero at the end of a test.
"""

import cocotb
from cocotb.triggers import FallingEdge

from hdl.link.formats import Cause
from hdl.link.link import LinkState
from hdl.link.parameters import FLIT_UNITS
from sim.rtl import test_config

from .coverage import Coverage, report
from .link import HASH, End, Pair, bench_parameters

LANES = bench_parameters(test_config()).lanes
coverage = Coverage("link", {
    "cause": list(Cause),
    "lanes": [1 << n for n in range(LANES.bit_length())],
    "inverted lanes": ["none", "some", "all"],
})


def make(dut) -> Pair:
    return Pair(dut, bench_parameters(test_config()))


async def traffic(pair: Pair, beats: int, cycles: int = 60_000):
    """So many beats more, on every channel and both ways, all of which must come."""
    for end in pair.ends:
        end.goal(*(count + beats for count in end.per_channel("sent")))
    await pair.deliver(cycles)
    for end in pair.ends:
        coverage.sample(lanes=int(end.masks.transmit).bit_count())


async def retrained(pair: Pair, end: End, before: int, cycles: int = 30_000):
    await pair.until(lambda: end.counters["retrains"] > before, cycles, f"end {end.name} retrains")
    await pair.up()


async def credits_are_complete(pair: Pair):
    """While nobody reads, exactly as many beats are taken as the partner's buffers hold: no credit is lost."""
    p = pair.parameters
    for end in pair.ends:
        end.drive("take_rate", 0)
    await pair.a.cycles(16 * p.flit_words)
    before = [end.per_channel("sent") for end in pair.ends]
    for end, sent in zip(pair.ends, before):
        end.goal(*(count + 2 * p.receive_beats for count in sent))
    await pair.a.cycles(2 * p.channels * p.receive_beats + 16 * p.flit_words)
    for end, sent in zip(pair.ends, before):
        assert end.per_channel("sent") == [count + p.receive_beats for count in sent]
    for end in pair.ends:
        end.drive("take_rate", 255)
    await pair.deliver(20_000)


async def down(pair: Pair, end: End, cause: Cause, cycles: int = 30_000):
    await pair.until(lambda: end.state == LinkState.DOWN, cycles, f"end {end.name} down")
    assert Cause(end.status.cause) == cause
    coverage.sample(cause=cause)


@cocotb.test()
async def test_payload_arrives(dut):
    """All channels, both ways: without gaps, with gaps, with slow readers. Not one flit is sent twice."""
    pair = make(dut)
    await pair.start()
    await pair.up()
    for offer, take in ((255, 255), (100, 255), (255, 60), (20, 20)):
        for end in pair.ends:
            end.drive("offer_rate", offer)
            end.drive("take_rate", take)
        await traffic(pair, 80)
    for end, other in ((pair.a, pair.b), (pair.b, pair.a)):
        assert end.counters["flits_bad"] == end.counters["replays"] == end.counters["retrains"] == 0
        assert end.counters["flits_good"] > 40
        assert 0 <= other.counters["flits_sent"] - end.counters["flits_good"] <= 8  # on the way
        await pair.until(lambda end=end: end.status.undelivered == 0, 500, "acknowledged")
        coverage.sample(cause=Cause(end.status.cause))


@cocotb.test()
async def test_latency_and_throughput(dut):
    """What the docstring of the link promises: 15 cycles and 23 of 24 units, when buffers suffice."""
    pair = make(dut)
    p = pair.parameters
    await pair.start()
    await pair.up()
    end, other = pair.ends
    worst = 0
    for number in range(1, p.flit_words + 2):
        await end.cycles(80 + number)
        end.goal(number)
        await pair.until(lambda: end.number("i_valid") & 1, 10, "offer", step=1)
        begin = cocotb.utils.get_sim_time("ps")
        await pair.until(lambda: other.number("o_valid") & 1, 100, "arrival", step=1)
        worst = max(worst, round((cocotb.utils.get_sim_time("ps") - begin) / 10_000))
    # A flit is waited for and sent; the rest does not depend on its length.
    assert worst == 2 * p.flit_words + 9, worst
    await pair.deliver(200)
    if (4 * p.channels + 8) * p.flit_words > p.channels * p.receive_beats:
        return  # a beat's credit may come back four flits of messages for each channel and two latencies later
    period = p.skip_flits * p.flit_words + 1
    for each in pair.ends:
        each.goal(*[1 << 30] * p.channels)
    await end.cycles(300)
    before = [sum(each.per_channel("received")) for each in pair.ends]
    await end.cycles(period)
    beats = p.skip_flits * (FLIT_UNITS - 1) / p.units
    for each, then in zip(pair.ends, before):
        assert abs(sum(each.per_channel("received")) - then - beats) <= 2


@cocotb.test()
async def test_training_finds_any_cable(dut):
    """Polarity, bit slip, lane order and skew at random, other ones each way, while payload is on its way."""
    pair = make(dut)
    p = pair.parameters
    await pair.start()
    for end in pair.ends:
        end.goal(*[40] * p.channels)
    reach = (p.skew_words - 2) * p.lane_bits
    for trial in range(4):
        for way in ("ab", "ba"):
            full = (1 << p.lanes) - 1
            inverted = (full, 0)[trial] if trial < 2 else pair.random.getrandbits(p.lanes)
            coverage.sample(**{"inverted lanes": {0: "none", full: "all"}.get(inverted, "some")})
            order = pair.random.sample(range(p.lanes), p.lanes)
            skew = [pair.random.randrange(reach) for _ in range(p.lanes)]
            if trial == 1:
                skew = [0] * (p.lanes - 1) + [reach]
            pair.cable.set(way, invert=inverted, delay=pair.random.randrange(200))
            pair.cable.order(way, order)
            pair.cable.skew(way, skew)
        await pair.a.cycles(40 * p.flit_words)  # long enough to be noticed
        await pair.up(30_000)
        await traffic(pair, 40)
        assert pair.a.masks.transmit == pair.a.masks.receive == full


@cocotb.test()
async def test_too_much_skew_does_not_train(dut):
    """A lane that is later than the buffers reach: it never is up, until the cable is another."""
    pair = make(dut)
    p = pair.parameters
    await pair.start()
    pair.cable.skew("ab", [0] * (p.lanes - 1) + [(p.skew_words + 2) * p.lane_bits])
    await pair.a.cycles(4 * p.lane_timeout)
    assert all(end.state in (LinkState.TRAINING, LinkState.HELLO) for end in pair.ends)
    pair.cable.skew("ab", [0] * p.lanes)
    await pair.up()
    await traffic(pair, 20)


@cocotb.test()
async def test_two_lanes_of_one_number(dut):
    """Wires that a cable has joined: one of them is used, with as many of the others as are a power of two."""
    pair = make(dut)
    p = pair.parameters
    await pair.start()
    pair.cable.order("ab", [0, 0, *range(2, p.lanes)])
    await pair.up()
    rest = (1 << p.lanes // 2 + 1) - 1 - 0b10
    assert (pair.a.masks.transmit, pair.b.masks.transmit) == (rest, (1 << p.lanes) - 1)
    await traffic(pair, 40)
    pair.cable.order("ba", [p.lanes - 1] * p.lanes)
    await retrained(pair, pair.a, 0)
    assert pair.b.masks.transmit == 1 << p.lanes - 1
    await traffic(pair, 40)


@cocotb.test()
async def test_a_lane_with_errors_is_not_used(dut):
    """Three of four flits of an idle link are bad: it trains again, and comes up without that lane though it has good
    blocks, too."""
    pair = make(dut)
    p = pair.parameters
    await pair.start()
    await pair.up()

    async def noise():
        while True:
            pair.cable.set("ab", dead=0b10 if pair.random.random() < 0.75 else 0)
            await pair.a.cycles(1)
            pair.cable.set("ab", dead=0)
            await pair.a.cycles(p.flit_words - 1)

    good = pair.b.counters["flits_good"]
    making = cocotb.start_soon(noise())
    await retrained(pair, pair.b, 0)
    assert pair.b.counters["flits_good"] > good
    assert pair.a.masks.transmit == (1 << p.lanes // 2 + 1) - 1 - 0b10
    bad = pair.b.counters["flits_bad"]
    await traffic(pair, 80)
    assert pair.b.counters["flits_bad"] == bad
    making.cancel()


@cocotb.test()
async def test_a_clock_that_stops_is_noticed(dut):
    """By an idle link, too: it trains, in the same session if the clock comes back, and is down if it does not."""
    pair = make(dut)
    await pair.start()
    await pair.up()
    await traffic(pair, 20)
    for end in pair.ends:
        end.control(down_after=6000)
    await FallingEdge(pair.b.clk)
    pair.a.drive("stop_clock", 1)
    await pair.until(lambda: pair.a.state != LinkState.UP, 300, "end a trains")
    await pair.a.cycles(100)
    await FallingEdge(pair.b.clk)
    pair.a.drive("stop_clock", 0)
    await pair.up()
    await traffic(pair, 20)
    await FallingEdge(pair.b.clk)
    pair.a.drive("stop_clock", 1)
    for end in pair.ends:
        await down(pair, end, Cause.NO_PARTNER)
    await FallingEdge(pair.b.clk)
    pair.a.drive("stop_clock", 0)
    await pair.restart()
    await pair.up()
    await traffic(pair, 20)


@cocotb.test()
async def test_lanes_die_and_return(dut):
    """With some lanes dead, as many of the others as are a power of two carry the payload; each way has its own."""
    pair = make(dut)
    p = pair.parameters
    await pair.start()
    await pair.up()
    await traffic(pair, 40)
    for end in pair.ends:
        end.goal(*[1 << 30] * p.channels)
    but_one, but_two = (1 << p.lanes - 1) - 1, (1 << p.lanes - 2) - 1
    for dead, other in ((0b10, 0), (but_two, 0b10), (but_one, 0b1), (0, 0)):
        pair.cable.set("ab", dead=dead)
        pair.cable.set("ba", dead=other)
        before = pair.b.counters["retrains"]
        if not dead:
            pair.a.control(retrain=1)
            await pair.a.cycles(4)
            pair.a.control(retrain=0)
        await retrained(pair, pair.b, before)
        for end, gone in ((pair.a, dead), (pair.b, other)):
            alive = [lane for lane in range(p.lanes) if not gone >> lane & 1]
            used = alive[:1 << len(alive).bit_length() - 1]
            assert end.masks.transmit == sum(1 << lane for lane in used)
        then = pair.b.per_channel("received")
        await pair.a.cycles(1500)
        assert all(now > before for now, before in zip(pair.b.per_channel("received"), then))
        coverage.sample(lanes=int(pair.a.masks.transmit).bit_count())
    await traffic(pair, 80)


@cocotb.test()
@cocotb.parametrize(ppm=[600, -600])
async def test_clocks_differ(dut, ppm):
    """Full load over skip periods, the clocks as far apart as +-300 ppm allow. Without skip words the crossing would
    overrun after 27 000 cycles, which is more than Icarus can do."""
    pair = make(dut)
    await pair.start(ppm=ppm)
    await pair.up()
    await traffic(pair, 20_000 if cocotb.SIM_NAME == "Verilator" else 1200)
    assert all(end.counters["flits_bad"] == end.counters["skip_errors"] == 0 for end in pair.ends)


@cocotb.test(skip=cocotb.SIM_NAME != "Verilator")
async def test_clocks_out_of_tolerance(dut):
    """Ten times as far apart as allowed, which takes more cycles than Icarus can do: words that are lost between the
    clocks are counted, and sent again."""
    pair = make(dut)
    await pair.start(ppm=6000)
    await pair.up()
    goal = [10_000] * pair.parameters.channels
    pair.a.goal(*goal)
    await pair.until(lambda: pair.b.per_channel("received") == goal, 200_000, "all beats")
    assert pair.b.counters["overruns"]
    assert pair.a.counters["overruns"] == 0
    assert pair.a.counters["replays"]
    assert not any(pair.b.number(name) for name in ("lost", "doubled", "corrupt"))


@cocotb.test()
async def test_wrong_skip_words_are_counted(dut):
    """Short bursts, one after the other, until one hits a skip word; lanes that the burst spares do not count."""
    pair = make(dut)
    p = pair.parameters
    await pair.start()
    await pair.up()
    for _ in range(40):
        pair.cable.set("ab", burst=1)
        await pair.a.cycles(8 * p.flit_words)
        pair.cable.set("ab", burst=0)
        await pair.a.cycles(pair.random.randrange(20, 60) * p.flit_words)
        if pair.b.counters["skip_errors"]:
            break
    assert 1 <= pair.b.counters["skip_errors"] <= p.lanes
    assert pair.a.counters["skip_errors"] == 0
    await traffic(pair, 20)


@cocotb.test()
@cocotb.parametrize(interval=[10_000, 2_000])
async def test_bit_errors(dut, interval):
    """Bit error rates of 1e-4 and 5e-4, on a cable with delay."""
    pair = make(dut)
    await pair.start()
    pair.cable.set(delay=pair.random.randrange(300))
    await pair.up()
    pair.cable.set(interval=interval)
    await traffic(pair, 300)
    pair.cable.set(interval=0)
    assert all(end.counters["replays"] for end in pair.ends)
    await credits_are_complete(pair)


@cocotb.test()
async def test_bursts_and_cuts(dut):
    """Short ones are replayed, long ones lead to training; a cut that is mended is no end of the session."""
    pair = make(dut)
    p = pair.parameters
    await pair.start()
    await pair.up()
    for end in pair.ends:
        end.goal(*[1 << 30] * p.channels)
        end.control(down_after=30_000)
    await pair.a.cycles(300)
    pair.cable.set(burst=1)
    await pair.a.cycles(6 * p.flit_words)
    pair.cable.set(burst=0)
    await pair.a.cycles(20 * p.flit_words)
    assert all(end.counters["replays"] and not end.counters["retrains"] for end in pair.ends)
    for action in (lambda on: pair.cable.set(burst=int(on)), pair.cable.cut):
        before = pair.a.counters["retrains"]
        action(True)
        await pair.a.cycles(60 * p.flit_words)
        action(False)
        await retrained(pair, pair.a, before)
    await traffic(pair, 80)


@cocotb.test()
async def test_injected_errors_are_replayed(dut):
    """On the transmitter's and on the receiver's side, once and for a while."""
    pair = make(dut)
    await pair.start()
    await pair.up()
    for side, name, strikes in (("transmit", "corrupt", pair.b), ("transmit", "sequence", None),
                                ("receive", "corrupt", pair.a), ("receive", "lose", None)):
        before = [end.counters for end in pair.ends]
        for end in pair.ends:
            end.goal(*(count + 100 for count in end.per_channel("sent")))
        await pair.a.cycles(4 * pair.parameters.flit_words)
        await pair.a.inject(side, name)
        await pair.deliver(20_000)
        for end, then in zip(pair.ends, before):
            assert end.counters["flits_bad"] - then["flits_bad"] == (end is strikes), (side, name)
            # One error is one replay, at the end whose flit it hit, by a NAK and not by a time-out.
            assert end.counters["replays"] - then["replays"] == ((end is pair.a) == (side == "transmit")), (side, name)
            assert end.counters["timeouts"] == then["timeouts"]
        before = [end.counters for end in pair.ends]
        await pair.a.inject(side, name, always=True)
        for end in pair.ends:
            end.goal(*(count + 60 for count in end.per_channel("sent")))
        await pair.a.cycles(12 * pair.parameters.flit_words)
        await pair.a.inject(side, name, always=False)
        await pair.deliver(40_000)
        for end, then in zip(pair.ends, before):
            more = {key: end.counters[key] - then[key] for key in ("flits_bad", "replays")}
            assert (more["flits_bad"] >= 6) if end is strikes else (more["flits_bad"] == 0), (side, name, more)
            assert more["replays"] >= 1 or (end is pair.a) != (side == "transmit"), (side, name, more)


@cocotb.test()
async def test_lost_acknowledgements_and_credits(dut):
    """A transmitter that hears nothing goes back by its time-out, retrains when that does not help, and goes on where
    it was when it hears again; lost credits come back with the next message, being cumulative."""
    pair = make(dut)
    p = pair.parameters
    await pair.start()
    await pair.up()
    await pair.a.inject("receive", "deaf")
    await traffic(pair, 20)
    assert pair.a.counters["replays"] == 0
    await pair.a.cycles(16 * p.flit_words)  # credits have come
    await pair.a.inject("receive", "deaf", always=True)
    pair.a.goal(*[20 + 4 * p.receive_beats] * p.channels)
    await pair.until(lambda: pair.a.counters["timeouts"] >= 2, 5000, "time-outs")
    begun = sum(pair.a.per_channel("sent")) - 20 * p.channels
    assert begun < 4 * p.receive_beats
    assert pair.a.status.undelivered == begun
    await pair.a.inject("receive", "deaf", always=False)
    await pair.deliver(20_000)
    await pair.a.inject("receive", "deaf", always=True)
    pair.a.goal(*[20 + 5 * p.receive_beats] * p.channels)
    await pair.until(lambda: pair.a.counters["retrains"], p.retrain_replays * (p.ack_timeout + 200), "retrain")
    await pair.a.inject("receive", "deaf", always=False)
    await pair.up()
    await pair.deliver(20_000)
    await credits_are_complete(pair)


@cocotb.test()
@cocotb.parametrize(case=[("type", Cause.WRONG_TYPE), ("length", Cause.WRONG_LENGTH),
                          ("channel", Cause.UNKNOWN_CHANNEL), ("credit", Cause.NO_CREDIT)])
async def test_flits_that_break_a_rule_are_refused(dut, case):
    """Their CRC is right: the receiver counts and says why, the transmitter goes down for that cause; in the next
    session, too, if there are more of them."""
    name, cause = case
    pair = make(dut)
    await pair.start()
    await pair.up()
    await traffic(pair, 20)
    if name == "credit":
        pair.b.drive("take_rate", 0)
    await pair.a.inject("transmit", name)
    pair.a.goal(*(count + 2 * pair.parameters.receive_beats for count in pair.a.per_channel("sent")))
    await down(pair, pair.a, cause, 5000)
    assert pair.b.counters["refused"] == 1
    assert Cause(pair.b.status.refused) == cause
    pair.b.drive("take_rate", 255)
    await pair.a.cycles(2 * pair.parameters.receive_beats)
    sent, come = sum(pair.a.per_channel("sent")), sum(pair.b.per_channel("received"))
    assert sent - pair.a.status.undelivered <= come <= sent
    pair.check()
    await pair.a.inject("transmit", name, always=True)
    await pair.restart()
    await pair.up()
    if name == "credit":
        pair.b.drive("take_rate", 0)
    pair.a.goal(*[2 * pair.parameters.receive_beats] * pair.parameters.channels)
    await down(pair, pair.a, cause, 5000)
    assert pair.b.counters["refused"] == 2
    await pair.a.inject("transmit", name, always=False)
    pair.b.drive("take_rate", 255)
    await pair.a.cycles(2 * pair.parameters.receive_beats)
    await pair.restart()
    await pair.up()
    await traffic(pair, 20)


@cocotb.test()
async def test_other_configurations_are_refused(dut):
    """Both ends count, and go down for the same cause; payload is not taken."""
    pair = make(dut)
    await pair.start(hashes=(HASH, HASH ^ 1 << 40))
    for end in pair.ends:
        end.goal(1)
    for end in pair.ends:
        await down(pair, end, Cause.CONFIGURATION)
        assert end.counters["refused"] >= 1
        assert not any(end.per_channel("sent"))


@cocotb.test()
async def test_a_partner_that_was_reset_is_noticed(dut):
    """It has forgotten what was acknowledged: the session ends, and a new one works."""
    pair = make(dut)
    await pair.start()
    await pair.up()
    await traffic(pair, 20)
    pair.b.drive("rst", 1)
    await pair.b.cycles(4)
    pair.b.drive("rst", 0)
    await down(pair, pair.a, Cause.PARTNER_RESET)
    await pair.restart()
    await pair.up()
    await traffic(pair, 20)


@cocotb.test()
async def test_a_partner_that_begins_anew_while_it_comes_up(dut):
    """As soon as payload has come, which may be before the other has heard of it: down for that cause, or up without a
    beat that comes twice."""
    pair = make(dut)
    p = pair.parameters
    await pair.start()
    for trial in range(12 if cocotb.SIM_NAME == "Verilator" else 3):
        # From another reset on, the end's rounds of training end at another time than the other's.
        pair.cable.set("ab", delay=pair.random.randrange(30 * p.lane_bits))
        pair.b.drive("rst", 1)
        await pair.b.cycles(pair.random.randrange(4, 200))
        pair.b.drive("rst", 0)
        pair.a.goal(*[40] * p.channels)
        while not any(pair.b.per_channel("received")):
            await pair.b.cycles(1)
        pair.b.control(enable=0)
        await pair.b.cycles(1 + trial % 2)
        pair.b.control(enable=1)
        await pair.a.cycles(40 * p.flit_words)
        await pair.settled(20_000)
        pair.check()
        if pair.a.state == LinkState.UP:
            await pair.deliver(20_000)
        await pair.restart()


@cocotb.test()
async def test_a_partner_is_reset_during_training(dut):
    """At any point of it: the other begins again when blocks say so, at the latest when the attempt's time is over."""
    pair = make(dut)
    p = pair.parameters
    await pair.start()
    for state in (LinkState.TRAINING, LinkState.TRAINING, LinkState.HELLO, LinkState.HELLO):
        while pair.a.state != state:
            await pair.a.cycles(1)
        if state == LinkState.TRAINING:
            await pair.a.cycles(pair.random.randrange(300))
        pair.b.drive("rst", 1)
        await pair.b.cycles(4)
        pair.b.drive("rst", 0)
        await pair.settled(p.training_timeout - 2000 if state == LinkState.HELLO else p.training_timeout + 20_000)
        if pair.a.state == LinkState.UP:
            await traffic(pair, 20)
        await pair.restart()


@cocotb.test()
async def test_a_long_cut_ends_the_session(dut):
    """Beats that were taken are delivered or told as undelivered; none is taken any more."""
    pair = make(dut)
    await pair.start()
    await pair.up()
    for end in pair.ends:
        end.control(down_after=2500)
        end.goal(*[1 << 30] * pair.parameters.channels)
    await pair.a.cycles(200 + pair.random.randrange(100))
    pair.cable.cut()
    for end in pair.ends:
        await down(pair, end, Cause.NO_PARTNER)
    await pair.a.cycles(200)
    for end, other in ((pair.a, pair.b), (pair.b, pair.a)):
        sent, come = sum(end.per_channel("sent")), sum(other.per_channel("received"))
        assert end.status.undelivered
        assert sent - end.status.undelivered <= come <= sent
        await end.cycles(20)
        assert sum(end.per_channel("sent")) == sent
    pair.check()
    pair.cable.cut(False)
    await pair.restart()
    await pair.up()
    await traffic(pair, 20)


@cocotb.test()
async def test_a_session_begins_with_each_rising_edge(dut):
    """However short ``enable`` is low, in full traffic: the session before is forgotten, and nothing of it comes."""
    pair = make(dut)
    await pair.start()
    for low in (1, 1, 1, 1, 2, pair.random.randrange(3, 20)):
        await pair.up()
        for end in pair.ends:
            end.goal(*[1 << 30] * pair.parameters.channels)
        await pair.a.cycles(200 + pair.random.randrange(100))
        await pair.restart(low)
        assert all(end.state != LinkState.UP for end in pair.ends)
    await pair.up()
    await traffic(pair, 20)
    await credits_are_complete(pair)


@cocotb.test()
async def test_pattern_counts_bit_errors(dut):
    """PRBS-31 on all lanes: none wrong, then as many as the cable has made; a dead lane is not followed. A link that is
    up does not care."""
    pair = make(dut)
    p = pair.parameters
    await pair.start()
    await pair.up()
    for end in pair.ends:
        end.control(test=1)
    await traffic(pair, 40)
    for end in pair.ends:
        end.control(test=0)
        assert end.counters["flits_bad"] == 0
    for end in pair.ends:
        end.control(enable=0, test=1)
    full = (1 << p.lanes) - 1
    await pair.until(lambda: pair.b.masks.test == full, 16 * 16 * p.lanes, "patterns are followed")
    await pair.a.cycles(40 * p.lanes)
    for end in pair.ends:
        end.control(test=0)
    await pair.a.cycles(40)
    pair.cable.set(load=1)
    await pair.a.cycles(2)
    pair.cable.set(load=0)
    for end in pair.ends:
        end.control(test=1)
    await pair.a.cycles(40 * p.lanes)
    pair.cable.set("ab", interval=1000)
    await pair.a.cycles(2000)
    pair.cable.set("ab", interval=0)
    await pair.a.cycles(40 * p.lanes)
    made = int(dut.ab_errors.value)
    assert made > 50
    assert sum(pair.b.lane_errors()) == made
    assert sum(pair.a.lane_errors()) == 0
    pair.cable.set("ab", dead=1)
    await pair.a.cycles(40 * p.lanes)
    assert pair.b.masks.test == full - 1
    pair.cable.set(dead=0)
    for end in pair.ends:
        end.control(enable=1, test=0)
    await pair.up()


@cocotb.test()
async def test_loopbacks(dut):
    """Near: a link that is its own partner. Far: the partner sends back what comes."""
    pair = make(dut)
    p = pair.parameters
    await pair.start(enable=False)
    pair.a.control(near_loopback=1, enable=1)
    await pair.until(lambda: pair.a.state == LinkState.UP, 20_000, "up")
    pair.a.goal(*[30] * p.channels)
    await pair.until(lambda: pair.a.number("received") == pair.a.number("goal"), 5000, "own payload")
    pair.check()
    pair.a.control(near_loopback=0)
    pair.b.control(far_loopback=1)
    await pair.restart()
    await pair.up()
    pair.a.goal(*[30] * p.channels)
    await pair.until(lambda: pair.a.number("received") == pair.a.number("goal"), 5000, "payload sent back")
    pair.check()
    assert not pair.b.number("received")
    report()
