"""The environment variables that matter to a run, and the secrets that no file may hold. Imports no jax.

Only the variables listed here are ever recorded: a user may set others with the same prefix that hold a token.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

# Variables that change the bits of a result, or the devices; run.json and the report show them.
RECORDED = (
    "JAX_COMPILER_ENABLE_REMAT_PASS",
    "JAX_CPU_COLLECTIVES_IMPLEMENTATION",
    "JAX_CPU_ENABLE_ASYNC_DISPATCH",
    "JAX_CUDA_VISIBLE_DEVICES",
    "JAX_DEBUG_INFS",
    "JAX_DEBUG_NANS",
    "JAX_DEFAULT_DEVICE",
    "JAX_DEFAULT_MATMUL_PRECISION",
    "JAX_DEFAULT_PRNG_IMPL",
    "JAX_DISABLE_JIT",
    "JAX_DISABLE_MOST_OPTIMIZATIONS",
    "JAX_ENABLE_X64",
    "JAX_HIGH_DYNAMIC_RANGE_GUMBEL",
    "JAX_NUMPY_DTYPE_PROMOTION",
    "JAX_NUMPY_RANK_PROMOTION",
    "JAX_NUM_CPU_DEVICES",
    "JAX_OPTIMIZATION_LEVEL",
    "JAX_PLATFORMS",
    "JAX_PLATFORM_NAME",
    "JAX_RANDOM_SEED_OFFSET",
    "JAX_ROCM_VISIBLE_DEVICES",
    "JAX_SOFTMAX_CUSTOM_JVP",
    "JAX_THREEFRY_GPU_KERNEL_LOWERING",
    "JAX_THREEFRY_PARTITIONABLE",
    "JAX_USE_DIRECT_LINEARIZE",
    "JAX_USE_SHARDY_PARTITIONER",
    "LIBTPU_INIT_ARGS",
    "NVIDIA_TF32_OVERRIDE",
    "XLA_CLIENT_MEM_FRACTION",
    "XLA_FLAGS",
    "XLA_PYTHON_CLIENT_ALLOCATOR",
    "XLA_PYTHON_CLIENT_MEM_FRACTION",
    "XLA_PYTHON_CLIENT_PREALLOCATE",
)
# Folders that processes read. A job that shares this machine's files inherits these too.
PLACES = ("JAXGEN_CACHE", "JAXGEN_DATA", "JAXGEN_EXPERIMENTS", "PYTHONPATH")

_SECRET = re.compile("KEY|TOKEN|SECRET|PASSW|CREDENTIAL", re.IGNORECASE)
# Variables of jax whose names sound like secrets but are not.
_NO_SECRETS = {
    "JAX_COMPILATION_CACHE_INCLUDE_METADATA_IN_KEY",
    "JAX_DEBUG_KEY_REUSE",
    "JAX_LEGACY_PRNG_KEY",
    "JAX_REMOVE_CUSTOM_PARTITIONING_PTR_FROM_CACHE_KEY",
}
_LOGIN = re.compile(r"(?<=://)[^/@\s]*@")


def sounds_secret(name: str) -> bool:
    """Returns whether a variable's name suggests that its value is a secret."""
    return bool(_SECRET.search(name)) and name not in _NO_SECRETS


def holds_login(value: str) -> bool:
    """Returns whether a value holds a URL with a user name, password or token."""
    return bool(_LOGIN.search(value))


def recorded(environ: Mapping[str, str]) -> dict[str, str]:
    """Returns the variables that a run records, with logins removed from URLs."""
    return {name: without_login(environ[name]) for name in RECORDED if name in environ}


def without_login(value: str) -> str:
    """Removes the user name, password or token before the `@` of every URL in a value."""
    return _LOGIN.sub("", value)
