"""The link against an end that was written from ``docs/link.md`` alone: both directions, every state of the page."""

import cocotb

from hdl.link.formats import Cause
from hdl.link.link import LinkState
from sim.rtl import test_config

from .coverage import Coverage, report
from .link import bench_parameters
from .link_partner import HASH, Meeting
from .link_reference import Cable, State
from .link_reference.format import Type, seal, unseal
from .link_reference.framing import keystream

coverage = Coverage("link_reference", {
    "link_down": [cause for cause in Cause if cause],
    "partner_down": [cause for cause in Cause if cause],
})


def make(dut) -> Meeting:
    return Meeting(dut, bench_parameters(test_config()))


def full(meet: Meeting) -> int:
    return (1 << meet.parameters.lanes) - 1


async def down(meet: Meeting, *, link: Cause | None = None, partner: Cause | None = None, cycles: int = 30_000):
    """Waits until one end, or both, are down, each for its cause."""
    if link is not None:
        await meet.until(lambda: meet.state == LinkState.DOWN, cycles, "link down")
        assert Cause(meet.status["cause"]) == link
        coverage.sample(link_down=link)
    if partner is not None:
        await meet.until(lambda: meet.partner.state is State.DOWN, cycles, "partner down")
        assert int(meet.partner.cause) == partner
        coverage.sample(partner_down=partner)


async def restart(meet: Meeting):
    """A new session at both ends, which has to work."""
    meet.control(enable=0, test=0)
    meet.partner.disable()
    await meet.cycles(200)
    meet.forget()
    meet.begin()
    await meet.up()
    meet.traffic(20)
    await meet.deliver()


@cocotb.test()
async def test_far_loopback(dut):
    """The RTL sends back what comes, on the same channel, and nothing of what its buffers show while they are empty.

    It is the first test, so that no beat has been written to them: in Icarus they show X then."""
    meet = make(dut)
    await meet.start()
    await meet.up()
    meet.control(far_loopback=1)
    for channel in range(meet.parameters.channels):
        for beat in range(50):
            meet.from_partner[channel].append(beat)
            meet.partner.send(channel, beat)
    await meet.until(lambda: meet.at_partner == meet.from_partner, 20_000, "payload sent back")
    assert not any(meet.at_link)


@cocotb.test()
async def test_payload_arrives(dut):
    """Full load, gaps, slow readers at either end. Not one flit is sent twice, all flits keep the page's rules."""
    meet = make(dut)
    await meet.start()
    await meet.up()
    for meet.offer, meet.take, meet.read in ((1, 1, 1), (0.1, 1, 1), (1, 0.03, 1), (1, 1, 0.03)):
        meet.traffic(60)
        await meet.deliver()
    counters = meet.counters
    assert counters["flits_bad"] == counters["replays"] == counters["retrains"] == counters["skip_errors"] == 0
    assert meet.partner.flits_bad == meet.partner.sender.replays == meet.partner._deframer.skip_errors == 0
    assert meet.rules.flits > 100
    assert meet.masks["transmit"] == meet.masks["receive"] == meet.partner._lanes.mask == full(meet)


@cocotb.test()
async def test_training_finds_any_cable(dut):
    """Polarity, bit slip, order and lateness of lanes at random, other ones each way, while beats are on their way."""
    meet = make(dut)
    p, geometry = meet.parameters, meet.geometry
    await meet.start()
    for trial in range(3):
        meet.traffic(40)
        cables = []
        for _ in range(2):
            reach = geometry.skew * p.lane_bits
            late = [meet.random.randrange(reach) for _ in range(p.lanes)]
            if trial == 1:
                late = [0] * (p.lanes - 1) + [reach]
            cables.append(Cable(geometry, meet.random, delays=[p.lane_bits + bits for bits in late],
                                order=meet.random.sample(range(p.lanes), p.lanes),
                                inverted=meet.random.getrandbits(p.lanes) if trial else full(meet)))
        meet.to_partner, meet.to_link = cables
        await meet.cycles(40 * p.flit_words)  # long enough to be noticed
        await meet.up(30_000)
        await meet.deliver()
        assert meet.masks["transmit"] == meet.masks["receive"] == full(meet)


@cocotb.test()
async def test_fewer_lanes(dut):
    """Each way uses the lanes that the page names, other ones each way; the others carry zeros."""
    meet = make(dut)
    p = meet.parameters
    await meet.start()
    await meet.up()
    for dead, other in ((0b10, 0), (full(meet) >> 1, 0b1), (0, 0)):
        meet.to_partner.dead, meet.to_link.dead = dead, other
        meet.partner.retrain()
        await meet.until(lambda: meet.state != LinkState.UP, 2000, "training")
        await meet.up()
        for mask, gone in ((meet.masks["transmit"], dead), (meet.masks["receive"], other)):
            alive = [lane for lane in range(p.lanes) if not gone >> lane & 1]
            assert mask == sum(1 << lane for lane in alive[:1 << len(alive).bit_length() - 1])
        meet.traffic(20)
        for _ in range(50):
            await meet.cycles(1)
            assert all(not word or meet.masks["transmit"] >> lane & 1
                       for lane, word in enumerate(meet.ports["o_lanes"].read()))
        await meet.deliver()


@cocotb.test()
@cocotb.parametrize(ppm=[600, -600])
async def test_clocks_differ(dut, ppm):
    """Skip words make good for clocks as far apart as they may be."""
    meet = make(dut)
    await meet.start(ppm=ppm)
    await meet.up()
    meet.offer = meet.take = meet.read = 1
    meet.traffic(1000)
    await meet.deliver()
    counters = meet.counters
    assert counters["flits_bad"] == counters["overruns"] == counters["skip_errors"] == meet.partner.flits_bad == 0


@cocotb.test()
@cocotb.parametrize(rate=[1e-4, 5e-4])
async def test_bit_errors(dut, rate):
    """Both replay, and nothing is lost; training copes, too."""
    meet = make(dut)
    meet.to_partner.error_rate = meet.to_link.error_rate = rate
    await meet.start()
    await meet.until(lambda: meet.state in (LinkState.HELLO, LinkState.UP), 20_000, "trained")
    meet.traffic(150)
    await meet.deliver(60_000)
    assert meet.counters["flits_bad"]
    assert meet.partner.flits_bad
    assert meet.counters["replays"]
    assert meet.partner.sender.replays


@cocotb.test()
async def test_retraining(dut):
    """Asked for by either end, again and again under load: the session goes on."""
    meet = make(dut)
    await meet.start()
    await meet.up()
    for trial in range(4):
        meet.traffic(60)
        await meet.cycles(100 + meet.random.randrange(100))
        if trial % 2:
            meet.partner.retrain()
        else:
            meet.control(retrain=1)
            await meet.cycles(2)
            meet.control(retrain=0)
        await meet.until(lambda: meet.state != LinkState.UP and meet.partner.state is not State.UP, 2000, "training")
        await meet.up()
    await meet.deliver()
    assert meet.counters["retrains"] == meet.partner.retrains == 4


@cocotb.test()
async def test_cuts(dut):
    """One direction is cut: training as soon as it is mended. Cut for long: both are down, beats are told."""
    meet = make(dut)
    await meet.start()
    await meet.up()
    for cable in (meet.to_partner, meet.to_link):
        meet.traffic(100)
        await meet.cycles(100)
        cable.dead = full(meet)
        await meet.until(lambda: meet.state != LinkState.UP and meet.partner.state is not State.UP, 3000, "training")
        cable.dead = 0
        await meet.up(30_000)
        await meet.deliver()
    meet.traffic(200)
    meet.partner.down_after = 4000
    meet.control(down_after=4000)
    await meet.cycles(200)
    meet.to_partner.dead = meet.to_link.dead = full(meet)
    await down(meet, link=Cause.NO_PARTNER, partner=Cause.NO_PARTNER)
    await meet.cycles(200)
    meet.check()
    for sent, came, undelivered in ((meet.from_link, meet.at_partner, meet.status["undelivered"]),
                                    ([[0] * sum(meet.partner.sender.begun)], meet.at_link, meet.partner.undelivered)):
        taken, arrived = sum(map(len, sent)), sum(map(len, came))
        assert undelivered
        assert taken - undelivered <= arrived <= taken
    meet.to_partner.dead = meet.to_link.dead = 0
    await restart(meet)


@cocotb.test()
async def test_injected_errors_are_replayed(dut):
    """Errors on the RTL's side, once each: one replay by a NAK, at the end whose flit was hit."""
    meet = make(dut)
    await meet.start()
    await meet.up()
    meet.traffic(20)
    await meet.deliver()
    for side, name in (("transmit", "corrupt"), ("transmit", "sequence"), ("receive", "corrupt"), ("receive", "lose")):
        before = meet.counters["replays"], meet.partner.sender.replays
        meet.rules.injecting = name == "sequence"
        meet.traffic(60)
        await meet.cycles(40)
        await meet.inject_once(side, name)
        await meet.deliver()
        after = meet.counters["replays"], meet.partner.sender.replays
        assert [now - then for now, then in zip(after, before)] == ([1, 0] if side == "transmit" else [0, 1]), name
    assert meet.counters["timeouts"] == meet.partner.sender.timeouts == 0


@cocotb.test()
async def test_lost_acknowledgements(dut):
    """Either end hears nothing for a while: it goes back by its time-out, and goes on when it hears again."""
    meet = make(dut)
    await meet.start()
    await meet.up()
    await meet.cycles(16 * meet.parameters.flit_words)  # credits have come
    meet.inject("inject_always", "receive", "deaf")
    meet.traffic(60)
    await meet.until(lambda: meet.counters["timeouts"] >= 2, 5000, "time-outs")
    meet.inject("inject_always")
    await meet.deliver()
    hear = meet.partner.sender.hear
    meet.partner.sender.hear = lambda message, value: None  # type: ignore[method-assign]
    meet.traffic(60)
    await meet.until(lambda: meet.partner.sender.timeouts >= 2, 5000, "time-outs")
    meet.partner.sender.hear = hear  # type: ignore[method-assign]
    await meet.deliver()


@cocotb.test()
@cocotb.parametrize(case=[("type", Cause.WRONG_TYPE), ("length", Cause.WRONG_LENGTH),
                          ("channel", Cause.UNKNOWN_CHANNEL), ("credit", Cause.NO_CREDIT)])
async def test_partner_refuses(dut, case):
    """The RTL breaks a rule: the reference refuses it for the page's cause, with which the RTL is down."""
    name, cause = case
    meet = make(dut)
    await meet.start()
    await meet.up()
    meet.traffic(20)
    await meet.deliver()
    if name == "credit":
        meet.read = 0
    await meet.inject_once("transmit", name)
    meet.traffic(200)
    await down(meet, link=cause, cycles=5000)
    assert int(meet.partner.receiver.refused) == cause
    meet.read = 1
    await meet.cycles(200)
    meet.check()
    await restart(meet)


#: Trailers of a flit with a right CRC and the expected number that break a rule, by name.
BROKEN = {
    "type": lambda trailer, channels: trailer._replace(type=3),
    "message": lambda trailer, channels: trailer._replace(message=3),
    "credit of no channel": lambda trailer, channels: trailer._replace(message=4 + channels),
    "length": lambda trailer, channels: trailer._replace(beats=31),
    "nothing": lambda trailer, channels: trailer._replace(type=Type.DATA, beats=0),
    "null with beats": lambda trailer, channels: trailer._replace(type=Type.NULL, beats=1),
    "channel": lambda trailer, channels: trailer._replace(channel=channels),
}
if bench_parameters(test_config()).units > 1:  # else no flit has but a remainder
    BROKEN["channel of a remainder"] = BROKEN["channel"]
CAUSES = {"type": Cause.WRONG_TYPE, "message": Cause.WRONG_TYPE, "credit of no channel": Cause.WRONG_TYPE,
          "length": Cause.WRONG_LENGTH, "nothing": Cause.WRONG_LENGTH, "null with beats": Cause.WRONG_LENGTH,
          "channel": Cause.UNKNOWN_CHANNEL, "channel of a remainder": Cause.UNKNOWN_CHANNEL}


@cocotb.test()
@cocotb.parametrize(name=list(BROKEN))
async def test_link_refuses(dut, name):
    """The reference breaks a rule: the RTL refuses it, counted, for the page's cause; the reference is down with it."""
    meet = make(dut)
    await meet.start()
    await meet.up()
    meet.traffic(20)
    await meet.deliver()
    flit_of = meet.partner.sender.flit

    def broken(message: int, value: int) -> list[int]:
        flit = flit_of(message, value)
        trailer = unseal(flit)
        assert trailer is not None
        # "nothing" and "null with beats" are broken NULL flits, all others DATA flits, one of them without beats
        wanted = Type.NULL if name in ("nothing", "null with beats") else Type.DATA
        begins = name != "channel of a remainder"
        if trailer.type != wanted or (wanted == Type.DATA and bool(trailer.beats) != begins):
            return flit
        return seal(flit[:-1], BROKEN[name](trailer, meet.parameters.channels))

    meet.partner.sender.flit = broken  # type: ignore[method-assign]
    if name not in ("nothing", "null with beats"):
        for _ in range(meet.parameters.flit_words):  # the last of them ends in a flit of its own
            meet.partner.send(0, 1)
            meet.from_partner[0].append(1)
    await down(meet, partner=CAUSES[name], cycles=5000)
    assert meet.counters["refused"] == 1
    assert Cause(meet.status["refused"]) == CAUSES[name]
    await restart(meet)


@cocotb.test()
async def test_link_refuses_beats_without_credit(dut):
    """One beat more than the RTL's buffer holds."""
    meet = make(dut)
    await meet.start()
    await meet.up()
    meet.take = 0
    for _ in range(meet.parameters.receive_beats + 1):
        meet.partner.send(1, 5)
        meet.from_partner[1].append(5)
    await meet.until(lambda: len(meet.partner.sender.waiting[1]) == 1, 5000, "a full buffer")
    await meet.cycles(20 * meet.parameters.flit_words)
    assert meet.partner.sender.waiting[1]
    meet.partner.sender.hear(4 + 1, meet.parameters.receive_beats + 1)
    await down(meet, partner=Cause.NO_CREDIT, cycles=5000)
    meet.take = 1
    await meet.cycles(100)
    assert len(meet.at_link[1]) <= meet.parameters.receive_beats
    meet.check()
    await restart(meet)


@cocotb.test()
async def test_beats_of_the_session_before(dut):
    """What the RTL's user has not read is there in the next session, and so much less is allowed until it is read."""
    meet = make(dut)
    await meet.start()
    await meet.up()
    meet.take = 0
    old = [meet.random.getrandbits(meet.parameters.word_bits) for _ in range(5)]
    for beat in old:
        meet.partner.send(1, beat)
    await meet.until(lambda: not meet.partner.undelivered and not any(meet.partner.sender.waiting), 5000, "delivery")
    await meet.cycles(2 * meet.parameters.flit_words)
    meet.control(enable=0)
    meet.partner.disable()
    await meet.cycles(200)
    meet.forget()
    meet.from_partner[1] += old
    meet.begin()
    await meet.up()
    meet.traffic(meet.parameters.receive_beats)
    await meet.until(lambda: not meet.partner.sender.waiting[0], 5000, "a full buffer")
    await meet.cycles(20 * meet.parameters.flit_words)
    assert len(meet.partner.sender.waiting[1]) == len(old)
    assert not any(meet.at_link)
    meet.take = 1
    await meet.deliver()


@cocotb.test()
async def test_other_configurations_are_refused(dut):
    """Both are down for it, and neither takes a beat."""
    meet = make(dut)
    await meet.start(configuration=HASH ^ 1 << 40)
    meet.traffic(1)
    await down(meet, link=Cause.CONFIGURATION, partner=Cause.CONFIGURATION)
    assert meet.counters["refused"] >= 1
    assert not any(meet.from_link)
    assert not meet.partner.undelivered


@cocotb.test()
async def test_a_partner_that_was_reset_is_noticed(dut):
    """Either end begins a new session by itself: the other is down, and a new session of both works."""
    meet = make(dut)
    await meet.start()
    await meet.up()
    meet.traffic(20)
    await meet.deliver()
    meet.partner.enable()
    await down(meet, link=Cause.PARTNER_RESET)
    await restart(meet)
    meet.control(enable=0)
    await meet.cycles(2)
    meet.control(enable=1)
    await down(meet, partner=Cause.PARTNER_RESET)
    await restart(meet)


@cocotb.test()
async def test_pattern(dut):
    """The RTL sends the page's PRBS-31, and counts the wrong bits of one that it is sent."""
    meet = make(dut)
    p = meet.parameters
    await meet.start(enable=False)
    sent = [(lane + 1) * 0x1E3779B9 % (1 << 31) for lane in range(p.lanes)]
    wrong = [0] * p.lanes

    def transmit() -> list[int]:
        words = []
        for lane in range(p.lanes):
            word, sent[lane] = keystream(sent[lane], p.lane_bits)
            words.append(word ^ wrong[lane])
        return words

    meet.partner.transmit = transmit  # type: ignore[method-assign]
    meet.control(test=1)
    lines: list[list[int]] = [[] for _ in range(p.lanes)]
    for _ in range(100 * p.lanes):
        await meet.cycles(1)
        for line, word in zip(lines, meet.ports["o_lanes"].read()):
            line.append(word)
    for lane, line in enumerate(lines):
        first = keystream((lane + 1) * 0x1E3779B9 % (1 << 31), p.lane_bits)[0]
        begin = line.index(first)
        stream, _ = keystream((lane + 1) * 0x1E3779B9 % (1 << 31), p.lane_bits * (len(line) - begin))
        assert stream == sum(word << p.lane_bits * n for n, word in enumerate(line[begin:])), lane
    assert meet.masks["test"] == full(meet)
    before = meet.ports["lane_errors"].read()
    for lane in range(p.lanes):
        wrong[lane] = 0b101
        await meet.cycles(1)
        wrong[lane] = 0
    await meet.cycles(100 * p.lanes)
    assert [now - then for now, then in zip(meet.ports["lane_errors"].read(), before)] == [2] * p.lanes
    report()
