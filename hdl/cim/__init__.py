"""The compute-in-memory array: column, macro, loader, array."""
