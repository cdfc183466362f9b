"""The cycle model: what every counter of the chip will hold when a program has run, without running it in RTL.

It is the RTL's control state, block by block and register by register, without data: :mod:`.plan` turns a program into
what each part has to do, :mod:`.machine` does it cycle by cycle, :mod:`.events` from event to event.
"""

from .decode import PredictionError
from .predict import Prediction, predict

__all__ = ["Prediction", "PredictionError", "predict"]
