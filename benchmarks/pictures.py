"""Draw the pictures of README and docs from replayed schedules.

    python benchmarks/pictures.py

writes docs/images/memory.svg (memory over steps, before and after planning),
docs/images/memory-model.svg (what makes up memory in a small example) and
docs/images/sweep.svg (what memory costs), and
prints the figures that the text beside them states.
"""

from pathlib import Path

import schedule
from schedule.lowering import in_order
from schedule.report.curves import curve_picture
from schedule.report.pictures import memory_picture, save_picture, stack_picture

IMAGES = Path(__file__).parent.parent / "docs" / "images"


def before_and_after() -> None:
    graph = schedule.example("unet")
    plan = schedule.solve(graph, budget="70%")
    before, after = in_order(graph), schedule.verify(graph, plan.schedule, plan.budget)
    picture = memory_picture({"as it is": before, "planned": after}, plan.budget)
    save_picture(picture, IMAGES / "memory.svg")
    print(f"before: peak {before.peak}\nafter:  {plan}")


def memory_model() -> None:
    g = schedule.GraphBuilder("small")
    x = g.input("x", memory=2)
    a = g.node("a", x, memory=3, compute=2)
    b = g.node("b", a, memory=2, compute=1)
    c = g.node("c", b, memory=1, compute=1, workspace=2)
    d = g.node("d", [a, c], memory=2, compute=1)
    graph = g.build(outputs=[d])
    steps = [
        *(schedule.Compute("a"), schedule.Compute("b"), schedule.Free(a)),
        *(schedule.Compute("c"), schedule.Free(b), schedule.Compute("a")),
        *(schedule.Compute("d"), schedule.Free(a), schedule.Free(c)),
    ]
    trace = schedule.verify(graph, steps)
    save_picture(stack_picture(trace), IMAGES / "memory-model.svg")
    print(f"small: in use during the runs {trace.during[trace.codes >= 0].tolist()}")


def sweep() -> None:
    curve = schedule.sweep(schedule.example("unet"), points=25, start="50%", workers=1)
    save_picture(curve_picture(curve), IMAGES / "sweep.svg")
    print(f"sweep:  {curve}")


if __name__ == "__main__":
    IMAGES.mkdir(parents=True, exist_ok=True)
    before_and_after()
    memory_model()
    sweep()
