"""Training as a process: files, clocks, checkpoints, leases and whoever watches."""
