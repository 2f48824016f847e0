"""What all commands share: options, output, messages, exit statuses."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TextIO, TypeVar

import click
from click.shell_completion import CompletionItem

from schedule import __version__
from schedule.display import console_for, folded, written
from schedule.errors import (
    OUT_OF_MEMORY,
    BadInput,
    BadOption,
    BadOutput,
    ReplayError,
    ScheduleWarning,
    SolverBug,
    is_interrupt,
    is_out_of_memory,
)
from schedule.files import STANDARD, path_text

if TYPE_CHECKING:
    from rich.console import RenderableType

    from schedule.graph import Graph

Command = TypeVar("Command", bound=Callable[..., Any])

#: Exit statuses.
DONE, NOT, MISUSE, INTERRUPTED = 0, 1, 2, 130


class _Unprinted(Exception):
    """Standard output can't be written."""


@contextmanager
def printing() -> Iterator[None]:
    """Inside, what fails is standard output; a reader that went away is click's concern."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise _Unprinted(error.strerror or str(error)) from error


class Commands(click.Group):
    """A group whose commands return their exit status, and fail with one line."""

    def main(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Run a command, say in one line what went wrong, and exit."""
        kwargs["standalone_mode"] = False
        try:
            status = super().main(*args, **kwargs)
            with printing():
                sys.stdout.flush()
        except click.ClickException as error:
            status = MISUSE
            if type(error).__name__ == "NoArgsIsHelpError":  # its message is the whole help page
                click.echo(error.format_message(), file=sys.stderr)
            else:
                _complain(_usage(error), MISUSE)
        except click.Abort:
            status = _complain("interrupted", INTERRUPTED)
        except Exception as error:  # noqa: BLE001 - raised again where it isn't the system's doing
            status = _failed(error)
        sys.exit(status)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; what the caller did wrong becomes a message and a status."""
        try:
            return super().invoke(ctx)
        except BadInput as error:
            return _complain(self._as_typed(str(error), ctx), MISUSE)
        except ReplayError as error:
            return _complain(str(error), NOT)
        except SolverBug as error:
            error.add_note("This is a bug in schedule: please report it with the graph's file.")
            raise
        except KeyboardInterrupt:
            return _complain("interrupted", INTERRUPTED)
        except EOFError as error:  # click takes it for Ctrl-D at a question, and nothing is asked
            raise RuntimeError("a file ended too soon") from error

    def _as_typed(self, message: str, ctx: click.Context) -> str:
        """A message about an option that begins with its name in Python, by its name here."""
        command = self.commands.get(ctx.invoked_subcommand or "")
        for option in [] if command is None else command.params:
            if isinstance(option, click.Option) and message.startswith(f"{option.name} is "):
                return f"{option.opts[-1]}{message.removeprefix(option.name or '')}"
        return message


def _failed(error: Exception) -> int:
    """Say what the system didn't give; raise what isn't the system's doing."""
    if is_interrupt(error):
        return _complain("interrupted", INTERRUPTED)
    if is_out_of_memory(error):
        return failure(OUT_OF_MEMORY)
    if isinstance(error, _Unprinted) or (isinstance(error, OSError) and not _prints()):
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  # else Python tries again at exit
        return failure(f"standard output: {getattr(error, 'strerror', None) or error}")
    if isinstance(error, OSError):
        where = "" if error.filename is None else f"{error.filename}: "
        return failure(f"{where}{error.strerror or error}")
    raise error


def _prints() -> bool:
    """Whether standard output takes what it was given; click itself prints help."""
    try:
        sys.stdout.flush()
    except OSError:
        return False
    return True


def _usage(error: click.ClickException) -> str:
    """A usage error in one line, and where to read more."""
    message = error.format_message().rstrip(".")
    context = error.ctx if isinstance(error, click.UsageError) else None
    path = context.command_path if context is not None else "schedule"
    joint = "" if message.endswith("?") else ";"
    return f"{message}{joint} see '{path} --help'"


def _fitting(text: str, stream: TextIO) -> str:
    """Text as it is, in one line for pipes; on terminals folded, and nothing in it cut."""
    if not stream.isatty():
        return text
    console = console_for(stream)
    return folded(written(text, console.encoding), console.width)


def _complain(message: str, status: int) -> int:
    """Say what is wrong in one line on standard error."""
    try:  # where a stream is told to write ASCII, click takes another in its place
        click.echo(_fitting(f"schedule: {' '.join(message.split())}", sys.stderr), file=sys.stderr)
    except OSError:  # nobody can read it; the status still says it
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115  # else Python tries again at exit
    return status


def failure(message: str) -> int:
    """Say why a command couldn't do what it was told; its exit status."""
    return _complain(message, MISUSE)


def remark(message: str) -> None:
    """Say something beside the result, on standard error."""
    _complain(message, DONE)


def remark_compiling(time: str) -> None:
    """Say what went by waiting for a compiler, on standard error."""
    remark(
        f"{time} went by waiting for code that wasn't compiled yet; `schedule warm` does that"
        " beforehand, once on a machine"
    )


def show_warnings() -> None:
    """Write this package's warnings as remarks, from now on and whatever thread they come from."""
    others = warnings.showwarning

    def show_one(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if issubclass(category, ScheduleWarning):
            if sys.stderr.isatty():  # what is shown while a solve runs makes room
                click.echo("\r\x1b[K", nl=False, err=True)
            remark(str(message))
        else:
            others(message, category, filename, lineno, file, line)

    warnings.showwarning = show_one


def file_names(_: object, __: object, incomplete: str) -> list[CompletionItem]:
    """Let the shell complete a file's name."""
    return [CompletionItem(incomplete, type="file")]


def directory_names(_: object, __: object, incomplete: str) -> list[CompletionItem]:
    """Let the shell complete a directory's name."""
    return [CompletionItem(incomplete, type="dir")]


def names_from(module: str, names: str) -> Callable[[object, object, str], list[str]]:
    """Let the shell complete names: a list, or what a function gives; imported only then."""

    def complete(_: object, __: object, incomplete: str) -> list[str]:
        known: Any = getattr(import_module(module), names)
        return [
            name for name in (known() if callable(known) else known) if name.startswith(incomplete)
        ]

    return complete


#: What is kept of a command line, by these keys: who reads GRAPH, the argument that is standard
#: input, and the option whose output is standard output.
_READER, _INPUT, _OUTPUT = (f"{__name__}.{part}" for part in ("reader", "input", "output"))


def _remember(context: click.Context, _: click.Parameter, value: str | None) -> None:
    """Keep the reader for `read_graph`: commands have no other use for it."""
    context.meta[_READER] = value


def _read_once(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Standard input can be read by one argument only."""
    if value == STANDARD and context.meta.setdefault(_INPUT, parameter.name) != parameter.name:
        raise click.UsageError("standard input ('-') can be read only once", context)
    return value


def source(name: str, required: bool = True) -> Callable[[Command], Command]:
    """Add an argument: a file that is read, or `-` for standard input."""
    return click.argument(name, required=required, shell_complete=file_names, callback=_read_once)


def _write_once(
    context: click.Context, parameter: click.Parameter, value: str | None
) -> str | None:
    """Standard output can be written by one option only; `show` then leaves it alone."""
    if value == STANDARD and context.meta.setdefault(_OUTPUT, parameter.name) != parameter.name:
        raise click.UsageError("standard output ('-') can take only one of them", context)
    return value


def sink(*names: str, **settings: Any) -> Callable[[Command], Command]:
    """Add an option: a file that is written, or `-` for standard output."""
    return click.option(
        *names, metavar="OUT", shell_complete=file_names, callback=_write_once, **settings
    )


def _printed(context: click.Context, _: click.Parameter, value: bool) -> bool:
    """Whether `--json` is given; it needs standard output for itself."""
    if value and context.meta.setdefault(_OUTPUT, "as_json") != "as_json":
        raise click.UsageError("--json and '-' can't both go to standard output", context)
    return value


_READING = (
    click.option(
        "--reader",
        metavar="NAME",
        callback=_remember,
        expose_value=False,
        shell_complete=names_from("schedule.frontends.plugged", "reader_names"),
        help="Who reads GRAPH, where its ending doesn't say.",
    ),
    click.option(
        "--memory-attribute",
        default="memory",
        metavar="NAME",
        help="What networkx's nodes call their memory.",
    ),
    click.option(
        "--compute-attribute",
        default="compute",
        metavar="NAME",
        help="What they call their compute.",
    ),
)
_JSON = click.option(
    "--json",
    "as_json",
    is_flag=True,
    callback=_printed,
    help="Print one JSON object, nothing else.",
)
help_option = click.help_option("-h", "--help")


@click.group(
    cls=Commands,
    context_settings={"max_content_width": 100},
    epilog="A graph and its plan in three lines:\n\n\b\n"
    "  schedule example unet -o unet.json.gz\n"
    "  schedule solve unet.json.gz --budget 70% -o plan.json\n"
    "  schedule replay unet.json.gz plan.json\n",
)
@help_option
@click.version_option(__version__, "-V", "--version", prog_name="schedule")
def commands() -> None:
    """Fit a computation graph into a memory budget at the least recomputation.

    Exit status: 0 done, 1 not so, 2 bad input or no memory, 130 interrupted.
    """


def plain(command: Command) -> Command:
    """Add the options of every command that prints something."""
    return _JSON(help_option(command))


def on_graph(command: Command) -> Command:
    """Add GRAPH, and the options that say how a node-link graph is to be read."""
    for option in (help_option, *reversed(_READING), _JSON):
        command = option(command)
    return source("graph")(command)


def read_graph(path: str, memory_attribute: str, compute_attribute: str) -> Graph:
    """The graph in the file `path`."""
    from schedule.frontends.files import read

    reader = click.get_current_context().meta.get(_READER)
    return read(path, memory=memory_attribute, compute=compute_attribute, reader=reader)


def output_text(output: str) -> str:
    """What is written, as messages show it."""
    return "standard output" if output == STANDARD else path_text(output)


def require_writable(output: str | None, *sources: str) -> None:
    """Refuse an output that can't be written, before any long work.

    Raises
    ------
    BadOutput
        It is a directory, or lies in none, or isn't the caller's to write.
    BadOption
        It is one of the files that are read.
    """
    if output is None or output == STANDARD:
        return
    path, shown = Path(output), f"{path_text(output)}: can't be written:"
    if not output:
        raise BadOutput(f"{shown} a file's name isn't empty")
    if path.is_dir() or output.endswith(os.sep):
        raise BadOutput(f"{shown} is a directory; give the path of a file")
    if not path.parent.is_dir():
        raise BadOutput(f"{shown} there is no directory {path_text(path.parent)!r}")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise BadOutput(f"{shown} permission denied")
    for source in sources:
        if path.exists() and os.path.exists(source) and path.samefile(source):
            raise BadOption(f"{path_text(output)} is read here; write to another file")


def show(*parts: RenderableType) -> None:
    """Print tables and lines to standard output, as wide as it is.

    Where a file goes to standard output they go to standard error.
    """
    context = click.get_current_context(silent=True)
    taken = context is not None and context.meta.get(_OUTPUT) is not None
    stream = sys.stderr if taken else sys.stdout
    console = console_for(stream)
    with printing():
        for part in parts:
            console.print(
                _fitting(part, stream) if isinstance(part, str) else part,
                markup=False,
                highlight=False,
                soft_wrap=isinstance(part, str),
                crop=False,
            )


def show_json(data: dict[str, Any]) -> None:
    """Print one JSON object on a line of its own, in ASCII so that any pipe takes it."""
    import json

    text = json.dumps(data, allow_nan=False)
    with printing():
        click.echo(text)
