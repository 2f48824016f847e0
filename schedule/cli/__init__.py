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

#: What the list of commands says of each, on one line of a terminal.
_IN_SHORT = {
    info: "Show what is in a graph, and what budgets it can have.",
    solve: "Find the schedule that fits a budget at the least compute.",
    verify: "Replay a schedule on paper: is it valid?",
    diff: "Show what one schedule does otherwise than another.",
    replay: "Run a schedule for real, and the program beside it.",
    compare: "Let every solver plan a graph at one budget.",
    solvers: "List the solvers, and where each comes from.",
    example: "Write an example graph, or list them.",
    capture: "Capture the training step of a PyTorch model as a graph.",
    place: "Give every allocation of a schedule an offset in one arena.",
    report: "Show where memory goes: a page, a trace, a picture.",
    sweep: "Solve a graph at many budgets: memory against compute.",
    warm: "Compile what solvers need, before the first solve.",
    completion: "Print what makes a shell complete commands and names.",
    manual: "Show the help of a command.",
}
for command, in_short in _IN_SHORT.items():
    command.short_help = in_short
    commands.add_command(command)


def main() -> None:
    """Run the command that `sys.argv` gives, and exit with its status."""
    prepare_streams()
    show_warnings()
    commands.main(prog_name="schedule")
