"""From layers to programs: quantisation into planes, tiling, emission. :func:`compiler.lower.lower` is the way in."""
