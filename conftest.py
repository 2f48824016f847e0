"""What pytest collects where PyTorch isn't installed."""

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("torch") else ["schedule/torch/*", "tests/torch/*"]
