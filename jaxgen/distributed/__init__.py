"""Several processes and devices: who they are, how arrays are spread over them, and what the environment says."""
