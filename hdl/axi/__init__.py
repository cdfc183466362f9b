"""AXI4 and AXI4-Lite (AMBA AXI and ACE protocol specification, ARM IHI 0022), as streams per channel."""
