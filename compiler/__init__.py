"""From layers to programs: quantisation into planes, tiling, emission."""
