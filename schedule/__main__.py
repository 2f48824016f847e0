"""The command `schedule`, also as `python -m schedule`; Ctrl-C ends its imports quietly, too."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command that `sys.argv` gives, and exit with its status."""
    try:
        from schedule.cli import main as run
    except KeyboardInterrupt:
        sys.stderr.write("schedule: interrupted\n")
        # Python would end by the signal: an import that was interrupted in `exec` is no
        # exit by a status, whoever caught it.
        os._exit(130)
    run()


if __name__ == "__main__":
    main()
