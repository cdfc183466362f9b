"""Windows over an image: which elements a result is made of, and where they lie once they are loaded."""

from dataclasses import dataclass
from math import gcd


class LayerError(ValueError):
    """A layer that the hardware cannot run; the message names what, its value and the rule."""


@dataclass(frozen=True)
class Axis:
    """The rows or the columns of an image, and the windows along them.

    Attributes
    ----------
    size : int
        Elements of the image.
    taps, stride, dilation : int
        Of the windows.
    before : int
        Padding in front of the first element.
    outputs : int
        Windows.
    skips : bool
        Elements that no window looks at are not loaded.
    """

    size: int
    taps: int = 1
    stride: int = 1
    dilation: int = 1
    before: int = 0
    outputs: int = 1
    skips: bool = True

    @classmethod
    def of_window(cls, name: str, size: int, taps: int, stride: int, dilation: int, padding: tuple[int, int]) -> "Axis":
        """With as many windows as there is room for. Raises :class:`LayerError` if there is room for none."""
        reach = dilation * (taps - 1) + 1
        room = size + sum(padding) - reach
        if size < 1 or room < 0:
            raise LayerError(f"{name} must be at least 1, and with padding the window's {reach}, not {size!r}")
        return cls(size, taps, stride, dilation, padding[0], room // stride + 1)

    def span(self, first: int, outputs: int, first_tap: int = 0, taps: int | None = None) -> "Span":
        """What ``outputs`` windows from ``first`` on need for ``taps`` taps (all by default) from ``first_tap`` on."""
        taps = self.taps if taps is None else taps
        apart = gcd(self.stride if outputs > 1 else 0, self.dilation if taps > 1 else 0)
        step = apart if self.skips and apart else 1
        begin = first * self.stride + first_tap * self.dilation - self.before
        length = ((outputs - 1) * self.stride + (taps - 1) * self.dilation) // step + 1
        low = max(0, -(begin // step))  # the first that is not padding
        high = min(length, -((begin - self.size) // step))
        start = min(max(begin + low * step, 0), self.size - 1)
        return Span(start, max(0, high - low), step, -low, -(-self.stride // step), -(-self.dilation // step))


@dataclass(frozen=True)
class Span:
    """Rows or columns of an image in the buffer.

    Attributes
    ----------
    start, count, step : int
        The first one in the image, how many, and how far apart they are there. If windows see nothing but padding,
        ``count`` is 0, and ``start`` is any.
    window, stride, dilation : int
        The first window's first tap, and the distances of windows and of taps, counted in loaded elements.
    """

    start: int
    count: int
    step: int
    window: int
    stride: int
    dilation: int

    @property
    def loaded(self) -> int:
        """How many are loaded: one at least."""
        return max(1, self.count)

    def needed(self, outputs: int, taps: int) -> int:
        """How many of the loaded ones the first ``outputs`` windows look at."""
        end = self.window + (outputs - 1) * self.stride + (taps - 1) * self.dilation + 1
        return min(max(1, end), self.loaded)

    def reach(self, outputs: int, taps: int) -> int:
        """Largest distance of a tap from the first element, either way."""
        return max(-self.window, self.window + outputs * self.stride + taps * self.dilation)


@dataclass(frozen=True)
class Window:
    """What a layer looks at of an image for one result.

    Attributes
    ----------
    height, width : int
        Taps.
    stride, dilation : (int, int)
        Down and across: from one window to the next, and from one tap to the next.
    padding : (int, int, int, int)
        Top, bottom, left, right; it has the value of the zero point.
    """

    height: int = 1
    width: int = 1
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)

    def __post_init__(self):
        for name, values, least in (("height", (self.height,), 1), ("width", (self.width,), 1),
                                    ("stride", self.stride, 1), ("dilation", self.dilation, 1),
                                    ("padding", self.padding, 0)):
            if min(values) < least:
                raise LayerError(f"{name} must be at least {least}, not {min(values)!r}")

    @property
    def taps(self) -> int:
        return self.height * self.width

    def axes(self, height: int, width: int) -> tuple[Axis, Axis]:
        """Rows and columns of an image. Raises :class:`LayerError` if the window does not fit it."""
        return (Axis.of_window("height", height, self.height, self.stride[0], self.dilation[0], self.padding[:2]),
                Axis.of_window("width", width, self.width, self.stride[1], self.dilation[1], self.padding[2:]))


#: Looks at one element; windows look at every element once. That of fully connected layers.
POINT = Window()
