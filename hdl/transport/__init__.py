"""The transport: remote memory writes and semaphores over chip-to-chip links."""
