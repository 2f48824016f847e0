"""`schedule capture`."""

from __future__ import annotations

import click

from schedule.cli.shell import DONE, plain, require_writable, show, show_json, sink


@click.command(epilog="Example:  schedule capture training:factory -o step.json.gz")
@click.argument("factory", metavar="MODULE:FACTORY")
@sink("-o", "--output", required=True, help="Graph file to write, gzipped where it ends in .gz.")
@click.option(
    "--costs",
    type=click.Choice(["model", "calibrated", "measure", "flops", "unit"]),
    default="model",
    show_default=True,
    help="Of operations: by their operations and bytes (model), with constants measured here"
    " (calibrated), each run once (measure), floating-point operations (flops), or 1 each (unit).",
)
@click.option(
    "--resident",
    default="0",
    metavar="SIZE",
    help="Memory that is there beside the step, as 2GiB for an optimizer's state.",
)
@click.option(
    "--pure",
    multiple=True,
    metavar="NAME",
    help="An operator of another package that may run again, as mine::norm; as often as needed.",
)
@click.option(
    "--real", is_flag=True, help="Make real tensors; by default they have shapes but no memory."
)
@plain
def capture(
    factory: str,
    output: str,
    costs: str,
    resident: str,
    pure: tuple[str, ...],
    real: bool,
    as_json: bool,
) -> int:
    """Capture the training step of a PyTorch model as a graph.

    FACTORY is a function in MODULE, looked for in the current directory first.
    It returns (model, inputs), where the model gives its loss; or (model,
    inputs, loss, targets). Models larger than memory can be captured.
    """
    from schedule.cli.loading import load
    from schedule.errors import BadOption
    from schedule.frontends.files import require_ending, write
    from schedule.lowering import in_order
    from schedule.sizes import format_memory, parse_memory

    require_writable(output)
    require_ending(output)
    parse_memory(resident, "--resident")
    made = load(factory, "factory")
    if not callable(made):
        raise BadOption(f"factory {factory} is not callable")
    if not real and costs in ("calibrated", "measure"):
        raise BadOption(f"--costs {costs} measures on this machine: it needs --real")
    from schedule.torch.frontend import capture_made

    graph = capture_made(made, fake=not real, costs=costs, resident=resident, pure=pure)  # type: ignore[arg-type]
    write(graph, output)
    found = {
        "graph": graph.name,
        "nodes": len(graph),
        "peak": in_order(graph).peak,
        "compute": graph.compute,
        "sha256": graph.digest,
    }
    if as_json:
        show_json(found)
    else:
        peak = format_memory(in_order(graph).peak)
        show(f"{graph.name}: {len(graph)} nodes, peak {peak}, written to {output}")
    return DONE
