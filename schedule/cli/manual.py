"""`schedule help` and `completion`."""

from __future__ import annotations

import os

import click
from click.shell_completion import CompletionItem, get_completion_class

from schedule.cli.shell import DONE, help_option
from schedule.errors import BadOption

_SHELLS = ("bash", "zsh", "fish")


def _commands(context: click.Context, _: object, incomplete: str) -> list[CompletionItem]:
    """Let the shell complete a command's name."""
    group = context.find_root().command
    return group.shell_complete(context.find_root(), incomplete)


@click.command("help", epilog="Example:  schedule help solve")
@click.argument("command", required=False, shell_complete=_commands)
@help_option
@click.pass_context
def manual(context: click.Context, command: str | None) -> int:
    """Show the help of COMMAND, as its --help does; without it, the list of commands."""
    root = context.find_root()
    assert isinstance(root.command, click.Group)
    if command is None:
        click.echo(root.get_help())
        return DONE
    _, found, _ = root.command.resolve_command(root, [command])
    assert found is not None, "it is refused else, as where it is to run"
    click.echo(found.get_help(click.Context(found, root, command)))
    return DONE


@click.command(epilog="Example:  schedule completion bash")
@click.argument("shell", required=False, type=click.Choice(_SHELLS))
@help_option
@click.pass_context
def completion(context: click.Context, shell: str | None) -> int:
    """Print what makes SHELL complete commands, options, names and files.

    For bash put  eval "$(schedule completion bash)"  into ~/.bashrc, for zsh the
    same with zsh into ~/.zshrc; for fish  schedule completion fish | source
    into its config. Without SHELL: that of the environment variable SHELL.
    """
    asked = shell or os.path.basename(os.environ.get("SHELL", ""))
    kind = get_completion_class(asked) if asked in _SHELLS else None
    if kind is None:
        raise BadOption(f"which shell? give one of {', '.join(_SHELLS)}")
    root = context.find_root().command
    click.echo(kind(root, {}, "schedule", "_SCHEDULE_COMPLETE").source())
    return DONE
