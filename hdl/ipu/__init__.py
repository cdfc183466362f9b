"""The instruction processing unit: fetch, queues, DMA, post-processing, registers."""
