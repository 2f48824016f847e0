"""Are planned steps the model's own? On models composed at random, beside eager PyTorch.

    python benchmarks/generated_models.py [--models 1000] [--seed 0] [--backend]
    python benchmarks/generated_models.py --model "linear:0 dropout:3 rows=2 width=8" [--reduce]

Each model trains two steps by itself, then planned with all recomputed and with
`greedy` at a budget at random down to the least one known (`--backend`: the same through
`torch.compile`). Equal means loss, outputs, gradients, parameters, buffers,
arguments, attributes and the random state, and live bytes within the promise.
Prints how many are equal, refused by reason, and wrong with the line that
reproduces each (rounding: equal in float64); with `--reduce` the shortest model
that ends in the same way.
Exit status 1 where one is wrong.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent.parent))  # the tests make the models

from tables import show

from tests.torch.generated_models import Description, Outcome, eager_steps, reduced, trial

#: So many of the slowest models are named.
SLOWEST = 3


def outcomes(said: Description, share: float, compiled: bool) -> Iterator[Outcome]:
    """All ways of one model; none where eager PyTorch refuses it."""
    try:
        wanted = eager_steps(said)
    except (RuntimeError, ValueError, IndexError, TypeError):
        return
    graph = None
    for amount in (None, share):
        found = trial(said, wanted, amount, compiled=compiled, graph=graph)
        graph = found.graph
        yield found


def worst(said: Description, share: float, compiled: bool) -> Outcome:
    """The worst of them."""
    found = list(outcomes(said, share, compiled)) or [Outcome("not in eager")]
    order = ["broken", "wrong", "late", "peak", "refused", "equal", "not in eager"]
    return min(found, key=lambda outcome: order.index(outcome.status))


def class_of(outcome: Outcome) -> str:
    """What is counted together: the first words, without numbers."""
    words = [word for word in outcome.why.split() if not any(map(str.isdigit, word))]
    return " ".join([outcome.status, *words[:9]])


def but_for_rounding(said: Description, share: float, outcome: Outcome, compiled: bool) -> Outcome:
    """The outcome, or that it is equal in float64: gradients that ought to be 0 aren't quite."""
    wide = replace(said, kind="float64")
    if outcome.status != "wrong" or said == wide or not worst(wide, share, compiled).is_right:
        return outcome
    return replace(outcome, status="rounding", why="equal in float64")


def run(seeds: range, compiled: bool) -> list[tuple[Description, float, Outcome, float]]:
    """A trial for each seed, with its budget's share and the seconds it took."""
    found = []
    for count, seed in enumerate(seeds, 1):
        said, share = Description.drawn(seed), random.Random(seed).random()
        started = time.perf_counter()
        outcome = worst(said, share, compiled)
        found.append((said, share, outcome, time.perf_counter() - started))
        if outcome.status not in ("equal", "refused", "not in eager"):
            print(f"seed {seed}: {outcome}\n  {said}", file=sys.stderr, flush=True)
        if count % 20 == 0:
            print(f"{count} of {len(seeds)}", file=sys.stderr, flush=True)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--backend", action="store_true", help="through torch.compile")
    parser.add_argument("--model", help="the line of one model")
    parser.add_argument("--share", type=float, default=0.5, help="of one model's budget")
    parser.add_argument("--reduce", action="store_true", help="make it as short as can be")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    if options.model:
        said = Description.parse(options.model)
        outcome = worst(said, options.share, options.backend)
        if options.reduce:
            kind = class_of(outcome)
            said = reduced(
                said, lambda other: class_of(worst(other, options.share, options.backend)) == kind
            )
            outcome = worst(said, options.share, options.backend)
        print(f"{said}\n{outcome}")
        return outcome.status not in ("equal", "refused")
    seeds = range(options.seed, options.seed + options.models)
    found = [
        (said, share, but_for_rounding(said, share, outcome, options.backend), seconds)
        for said, share, outcome, seconds in run(seeds, options.backend)
    ]
    counts = Counter(class_of(outcome) for _, _, outcome, _ in found)
    rows = [[name, str(count)] for name, count in sorted(counts.items(), key=lambda kv: -kv[1])]
    show(f"{options.models} models from seed {options.seed}", ["outcome", "models"], rows)
    wrong = [
        (said, share, outcome)
        for said, share, outcome, _ in found
        if outcome.status not in ("equal", "rounding", "refused", "not in eager")
    ]
    for said, share, outcome in wrong:
        print(f'{outcome}\n  --model "{said}" --share {share:.3f}')
    for said, _, _, seconds in sorted(found, key=lambda item: -item[3])[:SLOWEST]:
        print(f"{seconds:.1f} s: {said}")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
