"""`schedule warm`."""

from __future__ import annotations

import os

import click

from schedule.cli.shell import DONE, plain, show, show_json


@click.command(epilog="Example:  schedule warm")
@plain
def warm(as_json: bool) -> int:
    """Compile what solvers need, so that the first solve doesn't wait for it.

    For images of containers and machines of CI: once on a machine, half a minute.
    """
    from schedule import warming

    warmed = warming.warm()
    if as_json:
        show_json(warmed.to_json())
        return DONE
    from schedule.report.tables import ListTable

    rows = [
        (each.name, f"{each.seconds:.1f} s", "compiled" if each.was_compiled else "loaded")
        for each in warmed.parts
    ]
    show(ListTable(("part", "time", ""), rows))
    if warmed.folders:
        show(f"\nkept in {os.path.commonpath(warmed.folders)}")
    return DONE
