"""The command line: `schedule COMMAND …`.

Each command is a thin layer over the library: it reads files, calls one
function, and shows what comes back. Exit status: 0 done (solved, valid,
equal), 1 not (infeasible or unknown, not valid, not equal), 2 misuse, bad
input, or out of memory, 130 interrupted with nothing to show.
"""

from __future__ import annotations

import sys

from schedule import clash

if (_fault := clash.fault()) is not None:  # what follows would end in a traceback
    sys.stderr.write(f"schedule: {_fault}\n")
    sys.exit(2)

from schedule.cli.capture import capture
from schedule.cli.checks import replay, verify
from schedule.cli.diff import diff
from schedule.cli.graphs import example, info
from schedule.cli.manual import completion, manual
from schedule.cli.place import place
from schedule.cli.plans import compare, solve, solvers
from schedule.cli.report import report
from schedule.cli.shell import commands, show_warnings
from schedule.cli.streams import prepare_streams
from schedule.cli.sweep import sweep
from schedule.cli.warm import warm

__all__ = ["commands", "main"]

for command in (
    info,
    solve,
    verify,
    diff,
    replay,
    compare,
    solvers,
    example,
    capture,
    place,
    report,
    sweep,
    warm,
    completion,
    manual,
):
    commands.add_command(command)


def main() -> None:
    """Run the command that `sys.argv` gives, and exit with its status."""
    prepare_streams()
    show_warnings()
    commands.main(prog_name="schedule")
