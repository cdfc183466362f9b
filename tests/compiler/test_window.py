"""Spans of an axis: every tap of every window is where it should be, or is padding."""

import numpy as np
import pytest

from compiler.window import Axis


def random_axis(rng) -> Axis:
    taps, stride, dilation = (int(n) for n in rng.integers(1, 5, 3))
    before, after = (int(n) for n in rng.integers(0, 6, 2))
    size = max(1, dilation * (taps - 1) + 1 - before - after) + int(rng.integers(0, 12))
    axis = Axis.of_window("height", size, taps, stride, dilation, (before, after))
    return Axis(size, taps, stride, dilation, before, axis.outputs, bool(rng.integers(2)))


@pytest.mark.parametrize("seed", range(200))
def test_spans_hold_what_windows_see(seed):
    rng = np.random.default_rng(seed)
    axis = random_axis(rng)
    first = int(rng.integers(axis.outputs))
    outputs = int(rng.integers(1, axis.outputs - first + 1))
    first_tap = int(rng.integers(axis.taps))
    taps = int(rng.integers(1, axis.taps - first_tap + 1))
    span = axis.span(first, outputs, first_tap, taps)
    assert 0 <= span.start <= span.start + (span.loaded - 1) * span.step < axis.size
    for output in range(outputs):
        for tap in range(taps):
            seen = (first + output) * axis.stride + (first_tap + tap) * axis.dilation - axis.before
            at = span.window + output * span.stride + tap * span.dilation
            assert (0 <= at < span.count) == (0 <= seen < axis.size)
            assert abs(at) <= span.reach(outputs, taps)
            if 0 <= at < span.count:
                assert span.start + at * span.step == seen
                assert at < span.needed(output + 1, taps)
    assert span.needed(outputs, taps) == span.loaded


def test_elements_that_no_window_sees_are_left_out():
    assert Axis(9, 1, 3, 1, 0, 3).span(0, 3).loaded == 3
    assert Axis(9, 1, 3, 1, 0, 3, skips=False).span(0, 3).loaded == 7
    assert Axis(9, 3, 4, 2, 0, 2).span(0, 2).loaded == 5
