"""What pytest collects where PyTorch or JAX isn't installed."""

from importlib.util import find_spec

collect_ignore_glob = [
    f"{folder}/{name}/*"
    for name in ("torch", "jax")
    if not find_spec(name)
    for folder in ("schedule", "tests")
]
