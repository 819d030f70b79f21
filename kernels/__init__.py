"""Pallas kernels, each beside its plain-JAX reference, its dispatch and its benchmark."""
