"""Self-test of the array: a programmable March controller per core, and its registers over JTAG."""
