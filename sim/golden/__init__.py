"""The golden model: what the hardware computes, bit for bit, in numpy.

One function per hardware stage, under the stage's name: :mod:`.column`, :mod:`.array`, :mod:`.post`. :mod:`.gemm` runs
a whole layer through them, :mod:`.executor` a program.
"""
