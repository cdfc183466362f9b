"""The demonstration: the first feed-forward layer of MiniLM-L6 on the chip, for the tokens of one sentence."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from compiler.lower import lower
from compiler.minilm import MiniLM
from compiler.quantise import INT8_LIMIT, Affine, QuantisedLayer, quantise_layer
from hdl.config import Config
from sim.session import Result, Session

SENTENCE = ("Compute-in-memory multiplies weights where they are stored: every cycle, one bit-plane of sixty-four "
            "weights meets sixty-four activations, and a plane without bits costs no time, no bandwidth and no space.")

#: What the dequantised results have to reach against the layer in binary32.
GOAL = 0.999

OUTPUTS = ("int8", "int32")


@dataclass(frozen=True)
class Demonstration:
    """What was run and what it gave.

    Attributes
    ----------
    config : Config
    backend : str
    tokens : list of str
    exact : float32 [tokens, 1536]
        The layer in binary32.
    quantised : QuantisedLayer
        As it ran.
    result : Result
        Of the backend.
    golden : int8 or int32 [tokens, 1536]
        The golden model's results.
    accumulators : int32 [tokens, 1536]
        The golden model's, before bias and requantisation.
    product : int64 [tokens, 1536]
        The same by numpy's matrix product.
    """

    config: Config
    backend: str
    tokens: list[str]
    exact: np.ndarray
    quantised: QuantisedLayer
    result: Result
    golden: np.ndarray
    accumulators: np.ndarray
    product: np.ndarray

    @property
    def results(self) -> np.ndarray:
        """int8 or int32 [tokens, 1536]: the backend's."""
        return self.result.outputs["y"]

    @property
    def differences(self) -> int:
        """Results that are not the golden model's, and accumulators of it that are not numpy's."""
        return int((self.results != self.golden).sum() + (self.accumulators != self.product).sum())

    @property
    def cosine(self) -> float:
        """Of all results of the backend, dequantised, to the layer in binary32."""
        return float(cosine(self.quantised.dequantise(self.results).ravel(), self.exact.ravel()))

    @property
    def accumulator_cosine(self) -> float:
        """The same for the accumulators plus bias: what quantised weights and activations alone cost."""
        dequantised = self.accumulators * self.quantised.accumulator_scale + self.quantised.bias
        return float(cosine(dequantised.ravel(), self.exact.ravel()))

    @property
    def token_cosines(self) -> np.ndarray:
        """float64 [tokens]."""
        return cosine(self.quantised.dequantise(self.results), self.exact)

    @property
    def planes(self) -> float:
        """Planes stored per group, on average."""
        return float(np.bitwise_count(self.quantised.weights.masks).mean())

    @property
    def utilisation(self) -> float | None:
        """Share of the cycles in which the array multiplied a plane; None without a clock."""
        return None if self.result.cycles is None else self.result.counters["ARRAY_BUSY"] / self.result.cycles

    @property
    def bus_share(self) -> float | None:
        """Share of the cycles in which a word was read; None without a clock."""
        return None if self.result.cycles is None else self.result.counters["READ_BEATS"] / self.result.cycles


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """float64, of the last axis of two arrays of the same shape."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    return (a * b).sum(axis=-1) / np.sqrt((a * a).sum(axis=-1) * (b * b).sum(axis=-1))


def demonstrate(config: Config, backend: str = "verilator", *, sentence: str = SENTENCE, outputs: str = "int8",
                folder: Path | None = None, progress: bool = False) -> Demonstration:
    """Runs the 384 x 1536 layer of the model's first block on ``backend`` and on the golden model.

    Activations have one range for the tensor, 8-bit results one per output channel; both are those that the layer has
    in binary32 for this sentence. Weights are INT8, or what the configuration's planes hold if that is less, in groups
    of ``rows``.

    Parameters
    ----------
    sentence : str
    outputs : str
        ``int8``: requantised; ``int32``: the accumulators.
    folder : Path, optional
        Of the model's files; those of the installed wheel if not given.
    progress : bool
        Show a bar of simulated cycles.

    Raises
    ------
    ModelError
        If the model is not installed or not readable, or the sentence is empty or too long.
    LayerError
        If the configuration cannot run the layer.
    """
    session = Session(config, backend)
    model = MiniLM(folder)
    tokens, ids = model.tokens(sentence)
    x = model.attention(0, model.embed(ids))
    dense = model.intermediate(0)
    exact = dense(x)

    activations = Affine.of_range(x.min(), x.max())
    limit = min(INT8_LIMIT, (1 << config.planes) - 1)

    def quantised(results: Affine | None) -> QuantisedLayer:
        return quantise_layer(dense.weight, dense.bias, config.rows, activations, results, limit=limit)

    plain = quantised(None)
    chosen = quantised(Affine.symmetric(np.abs(exact).max(axis=0))) if outputs == "int8" else plain
    program = lower(config, chosen.layer, len(tokens))
    inputs = {"x": activations.quantise(x)}
    golden = Session(config).run(program, inputs)
    accumulators = golden if chosen is plain else Session(config).run(lower(config, plain.layer, len(tokens)), inputs)
    with Console(stderr=True).status(f"building {config.name} for {backend}: a minute or two, the first time"):
        session.prepare(program.memory_bytes)
    return Demonstration(
        config, backend, tokens, exact, chosen, session.run(program, inputs, progress=progress), golden.outputs["y"],
        accumulators.outputs["y"], (inputs["x"].astype(np.int64) - activations.zero_point) @ plain.weights.scaled.T)


def picture(demo: Demonstration) -> Group:
    """The tokens, each with a bar of what it lost, and the figures as a table."""
    return Group(_token_bars(demo), _figures(demo))


_BARS = "▁▂▃▄▅▆▇█"


def _token_bars(demo: Demonstration) -> Text:
    """Each token with its error 1 - cosine; the highest bar is the worst of the sentence."""
    errors = 1 - demo.token_cosines
    worst = errors.max() or 1.0
    text = Text()
    for token, error in zip(demo.tokens, errors):
        height = round(error / worst * (len(_BARS) - 1))
        style = "green" if error <= 1 - GOAL else "yellow"
        text.append(token).append(_BARS[height] + " ", style=style)
    lost = f"\n█ = the token that loses most, cosine {1 - worst:.5f}; best {1 - errors.min():.5f}"
    return text.append(lost, style="dim")


def _figures(demo: Demonstration) -> Table:
    result, values = demo.result, demo.results.size
    table = Table(title=f"MiniLM-L6 layer 0, dense 384 x 1536, {len(demo.tokens)} tokens: "
                        f"{demo.config.name} on {demo.backend}", title_justify="left", show_header=False)
    table.add_row("weights", f"{demo.planes:.2f} planes stored per group of {demo.config.rows}")
    if demo.backend != "golden":
        table.add_row("RTL against golden model", _agreement(int((demo.results != demo.golden).sum()), values))
    table.add_row("golden model against numpy", _agreement(int((demo.accumulators != demo.product).sum()), values))
    table.add_row(f"cosine to float, {demo.results.dtype}", _against_goal(demo.cosine))
    if demo.quantised.results is not None:
        table.add_row("cosine to float, accumulators", _against_goal(demo.accumulator_cosine))
    if result.cycles is None:
        table.add_row("RTL cycles", "none: the golden model has no clock")
    else:
        table.add_row("RTL cycles", f"{result.cycles}")
        table.add_row("array utilisation", f"{demo.utilisation:.1%}; memory bus read {demo.bus_share:.1%}")
        table.add_row("simulated cycles per second", f"{result.cycles_per_second:.0f} ({result.seconds:.2f} s)")
    return table


def _agreement(differences: int, values: int) -> Text:
    if differences:
        return Text(f"NOT bit-exact: {differences} of {values} values differ", style="bold red")
    return Text(f"bit-exact, all {values} values", style="green")


def _against_goal(value: float) -> Text:
    met = value >= GOAL
    return Text(f"{value:.5f} (goal >= {GOAL})", style="green" if met else "yellow")
