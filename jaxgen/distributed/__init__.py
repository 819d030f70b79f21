"""Processes, devices and meshes, and the environment's variables that describe them."""
