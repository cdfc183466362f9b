"""The chip-to-chip link at the width of its anchor, 64 bytes per cycle on 8 lanes: payload over line bits with both
directions full, by bit error rate; latency of a write of 64 bytes, its header included, on an idle link in any phase of
flits and skip words; recovery from a burst, a dead lane, a cut, once each and to within 8 cycles.

Two links on a cable of the simulator, all flits counted, line coding free. The anchor is OMI DLx, the only other open
link RTL with replay. While bits are wrong and afterwards every beat is checked: none may be lost, doubled or changed.
"""

import argparse
import dataclasses
import json
from pathlib import Path

import matplotlib
from tqdm import tqdm

from bench.report import report
from hdl.config import configuration
from hdl.link.link import Link
from hdl.link.parameters import LinkParameters
from sim.rtl import Build, build, run
from sim.rtl.design import generated
from sim.rtl.link_pair import SOURCES, link_pair
from sim.rtl.paths import build_root
from verif.link_figures import PARAMETERS, SETTINGS

RATES = (0, 1e-7, 1e-6, 1e-5, 1e-4)

#: Payload over line bits that are wanted, and those of the anchor, by bit error rate.
GOALS = {0: 0.94, 1e-6: 0.92, 1e-5: 0.75}
ANCHOR = {0: 0.862, 1e-6: 0.803, 1e-5: 0.348}

LATENCY_GOAL, ANCHOR_LATENCY = 20, "15 to 25"

#: What each point of the sweep has to have seen.
BYTES, BAD_FLITS = 10_000_000, 100


def links() -> tuple[Build, LinkParameters]:
    """Two links of the default parameters, built for Verilator."""
    parameters = LinkParameters()
    config = configuration("edge")  # names the build; the link has parameters of its own
    link = generated(Link(parameters), config, name="link")
    return build(link_pair(link, parameters), config, extra_sources=SOURCES), parameters


def measure(made: Build, parameters: LinkParameters, test: str, **settings: float) -> dict:
    """The figures of one test of ``verif/link_figures.py``."""
    result = run(made, "verif.link_figures", testcase=test, environment={
        PARAMETERS: json.dumps(dataclasses.asdict(parameters)), SETTINGS: json.dumps(settings)})
    return json.loads((result.directory / "figures.json").read_text())


def plot(sweep: list[dict], path: Path):
    """Throughput over bit error rate, with the anchor's; an error rate of 0 is drawn at the left end."""
    matplotlib.use("Agg")
    from matplotlib import pyplot
    figure, axes = pyplot.subplots(figsize=(6, 3.6), layout="constrained")
    left = min(r for r in RATES if r) / 10
    for label, points, style in (("cimple", [(p["rate"], p["efficiency"]) for p in sweep], "o-"),
                                 ("OMI DLx", list(ANCHOR.items()), "s--")):
        axes.plot([rate or left for rate, _ in points], [100 * value for _, value in points], style, label=label)
    axes.set_xscale("log")
    axes.set_xticks([left, *(r for r in RATES if r)], ["0", *(f"{r:.0e}" for r in RATES if r)])
    axes.set(xlabel="bit error rate", ylabel="payload, % of line bits", ylim=(0, 100))
    axes.grid(alpha=0.3)
    axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def main():
    parser = argparse.ArgumentParser(prog="cimple bench link", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bytes", type=int, default=BYTES, help="payload of each point of the sweep")
    parser.add_argument("--bad-flits", type=int, default=BAD_FLITS, help="flits that errors must have hit")
    arguments = parser.parse_args()
    made, parameters = links()
    latency = {name: [int(cycles) for cycles in found] for name, found in measure(made, parameters, "latency").items()}
    sweep = [measure(made, parameters, "throughput", rate=rate, bytes=arguments.bytes,
                     bad_flits=arguments.bad_flits if rate else 0)
             for rate in tqdm(RATES, desc="bit error rates", unit="run")]
    recovery = measure(made, parameters, "recovery")
    picture = build_root() / "link.svg"
    plot(sweep, picture)

    rows = [(f"payload / line bits at {p['rate']:.0e}" if p["rate"] else "payload / line bits, no errors",
             f"{p['efficiency']:.2%}", f">= {GOALS[p['rate']]:.0%}" if p["rate"] in GOALS else "",
             f"{ANCHOR[p['rate']]:.1%}" if p["rate"] in ANCHOR else "",
             f"{p['payload_bytes']:.3g} bytes, {p['flits_bad']} bad flits; lost {p['lost']}, doubled or "
             f"out of order {p['doubled']}, corrupt {p['corrupt']}") for p in sweep]
    rows.append(("latency of a write of 64 bytes, idle, worst phase", f"{max(latency['write'])} cycles",
                 f"<= {LATENCY_GOAL}", ANCHOR_LATENCY,
                 f"best {min(latency['write'])}; of 64 bytes without header {min(latency['beat'])} to "
                 f"{max(latency['beat'])}"))
    rows += [(f"recovery from {name}", f"{r['cycles']} cycles", "", "",
              f"then {r['rate_after']:.2%} on {r['lanes']} lanes") for name, r in recovery.items()]
    by_rate = {p["rate"]: p for p in sweep}
    report("link", round(by_rate[0]["efficiency"], 4), "payload / line bits",
           ", ".join(f">= {goal}" + (f" at {rate:.0e}" if rate else "") for rate, goal in GOALS.items())
           + f"; latency <= {LATENCY_GOAL}",
           {"efficiency": {f"{rate:.0e}": round(p["efficiency"], 4) for rate, p in by_rate.items()},
            "latency": max(latency["write"]), "latency_without_header": max(latency["beat"]),
            "wrong_beats": sum(p[n] for p in sweep for n in ("lost", "doubled", "corrupt")),
            "bad_flits": {f"{rate:.0e}": p["flits_bad"] for rate, p in by_rate.items()},
            "recovery_cycles": {name: r["cycles"] for name, r in recovery.items()},
            "anchor": {f"{rate:.0e}": value for rate, value in ANCHOR.items()}, "plot": picture.name},
           rows, ("", "cimple", "goal", "OMI DLx", ""))


if __name__ == "__main__":
    main()
