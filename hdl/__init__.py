"""All RTL of cimple, in Amaranth, and the single source of every number, encoding and register."""
