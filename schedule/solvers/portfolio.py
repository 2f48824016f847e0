"""What `solve` does by default: a portfolio of methods, each where it is good, on one incumbent."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from schedule.graph import Graph
from schedule.log import LOG
from schedule.solvers.annealing import SEQUENCES
from schedule.solvers.classics.dtr import Dtr
from schedule.solvers.classics.recompute_all import RecomputeAll
from schedule.solvers.contract import Clock, Deadline, Incumbent, Problem, Proof, Solver
from schedule.solvers.eviction import EVICTION
from schedule.solvers.greedy import QUICK, Greedy
from schedule.solvers.ilp import Ilp
from schedule.solvers.kit.loading import Loading
from schedule.solvers.search import Search

#: How often the main thread looks whether the search is done, and how long it waits in the
#: end for it to notice, in seconds.
_BEAT = 0.05
_PATIENCE = 0.5
#: The seconds that the proof has for itself at most.
_MOST_HEAD_START = 1.0


@dataclass(frozen=True, slots=True)
class Question:
    """What the table looks at.

    Attributes
    ----------
    nodes, workers
        Of the graph, and threads.
    gap
        Between incumbent and bound.
    seconds
        That are left.
    """

    nodes: int
    workers: int
    gap: float
    seconds: float = math.inf


@dataclass(frozen=True, slots=True)
class Method:
    """A line of the table.

    Attributes
    ----------
    lane
        `first`: before anything else. `proof` and `search`: side by side in threads of
        their own, with one worker one after the other.
    solver
        The method.
    applies
        Whether it is used for a question.
    purpose
        Why it is in the table.
    share, least
        The share of the seconds left that it may take, and the seconds that it may take
        at least.
    always
        Whether it is asked even where incumbent and bound are close enough already.
    meanwhile, once
        It is asked only while this part of the compiled code isn't ready yet, or only once
        it is: what comes first must not wait for a compiler.
    """

    lane: Literal["first", "proof", "search"]
    solver: Solver
    applies: Callable[[Question], bool]
    purpose: str
    share: float = 1.0
    least: float = 0.0
    always: bool = False
    meanwhile: Loading | None = None
    once: Loading | None = None

    def is_for(self, question: Question, clock: Clock) -> bool:
        """Whether it is used for a question now."""
        is_late = self.meanwhile is not None and self.meanwhile.counts_as_ready(clock)
        is_early = self.once is not None and not self.once.counts_as_ready(clock)
        return not (is_late or is_early) and self.applies(question)


@dataclass(frozen=True, slots=True)
class Nodes:
    """Graphs of more than `above` nodes, and of no more than `up_to` (None: any number)."""

    above: int = -1
    up_to: int | None = None

    def __call__(self, question: Question) -> bool:
        """Whether a question is about such a graph."""
        return self.above < question.nodes and (self.up_to is None or question.nodes <= self.up_to)


def _has_none(question: Question) -> bool:
    """Where nothing is known to fit, and n² runs are soon written."""
    return question.gap == math.inf and question.nodes <= 1_000


def _is_urgent(question: Question) -> bool:
    """Where nothing is known to fit, and Python's lock, shared, would make `greedy` too late."""
    is_short = question.seconds <= _SHORT and question.workers > 1
    return is_short and question.gap == math.inf and question.nodes <= _LARGE


def _is_quick(question: Question) -> bool:
    """Where nothing is known to fit, and programs take no longer than a search for it would."""
    return question.gap == math.inf and question.nodes <= _TINY


def _is_wide(question: Question) -> bool:
    """Where the bound may never meet the incumbent, so that the search can't wait for the end."""
    return (_SMALL if question.workers > 1 else 200) < question.nodes <= _MOST_PROVED


def _is_small(question: Question) -> bool:
    """All others, with a thread that searches beside the proof."""
    return question.workers > 1 and question.nodes <= _SMALL


def _is_far(question: Question) -> bool:
    """Where the proof's thread is needed beside that of the search.

    On large graphs programs get further than annealing, which tries no more moves a second.
    Small ones may yet be decided by a search of states, however far they are.
    """
    is_near = question.nodes <= _LARGE and question.gap <= 0.1
    is_far = question.gap > 0.01 and (is_near or question.nodes <= _SMALL)
    return _has_a_thread_left(question) and is_far


def _is_very_far(question: Question) -> bool:
    """The same, so far that programs can do little for a schedule."""
    is_wide = question.nodes > _SMALL
    return _has_a_thread_left(question) and is_wide and question.gap > 0.1


def _is_wide_and_alone(question: Question) -> bool:
    """Where that is so with one worker."""
    return _is_wide(question) and question.workers == 1


def _is_alone(question: Question) -> bool:
    """Those of them for which greedy didn't run beside the first programs."""
    return _is_wide_and_alone(question) and question.nodes <= _LARGE


def _has_a_thread_left(question: Question) -> bool:
    """Where the proof's thread may search, as nothing waits for it."""
    return question.workers > 1 and question.nodes <= _MOST_PROVED


def _searches_itself(question: Question) -> bool:
    """Small enough for one thread to prove before it searches."""
    return question.workers == 1 and question.nodes <= 200


def _is_searched_elsewhere(question: Question) -> bool:
    """All others for which there are proofs."""
    return not _searches_itself(question) and question.nodes <= _MOST_PROVED


#: Nodes up to which most questions are soon proved; above which `greedy` is first, and above
#: which proofs are out of reach.
_SMALL, _LARGE, _MOST_PROVED = 400, 3_000, 30_000
#: And up to which programs take some hundredths of a second.
_TINY = 60
#: Seconds in which two threads of Python get little done beside each other.
_SHORT = 2.0
_PROGRAMS = Ilp(until="first programs", searches=False)
_OPENING = Ilp(until="opening")  # soon done, and mostly a good start
_ANNEALING = Search(starts=False, refines=False)
#: Where nothing else is left to do with the time that there is.
_RESTARTING = Search(starts=False, restarts=True)
_RESTARTING_ELSEWHERE = replace(_RESTARTING, refines=False)

#: All that `auto` does, from top to bottom; it ends as soon as incumbent and bound meet.
TABLE: tuple[Method, ...] = (
    #       lane     solver                   applies             share, least  purpose
    Method("first", _OPENING, Nodes(), "no programs: small graphs end here", always=True),
    Method(
        "first", Dtr(), Nodes(), "an answer while greedy is compiled", 0.02, 0.1, meanwhile=EVICTION
    ),
    Method(
        "first",
        Greedy(QUICK),
        Nodes(up_to=_LARGE),
        "a start for the programs",
        share=0.1,
        once=EVICTION,
    ),
    Method("first", _PROGRAMS, _is_quick, "a proof that nothing fits", 0.15, 0.2),
    Method("first", Greedy(), _is_urgent, "an answer, soon", share=0.8, once=EVICTION),
    Method("first", Greedy(), Nodes(above=_LARGE), "a good schedule before anything long begins"),
    Method("first", Search(starts=False), Nodes(above=_MOST_PROVED), "proofs are out of reach"),
    Method("proof", RecomputeAll(), _has_none, "fits if any simple plan does; n² runs", share=0.1),
    Method("proof", _PROGRAMS, _is_wide, "most questions end here", share=0.15),
    Method("proof", Ilp(searches=False), _is_small, "where most of them end", share=0.4),
    Method("proof", Greedy(), _is_alone, "a start for the search", share=0.9),
    Method("proof", Search(starts=False), _is_wide_and_alone, "what they leave open", share=0.9),
    Method("proof", _ANNEALING, _is_very_far, "the same; the other lane refines", share=0.9),
    Method("proof", _ANNEALING, _is_far, "the same; the other lane refines", share=0.5),
    Method("proof", Ilp(), _searches_itself, "the proof, searching where programs are hard"),
    Method("proof", Ilp(searches=False), _is_searched_elsewhere, "the proof"),
    Method("proof", _RESTARTING_ELSEWHERE, _has_a_thread_left, "a proof that ends may leave a gap"),
    Method("search", Greedy(), Nodes(up_to=_LARGE), "a good schedule, and a start for the search"),
    Method("search", _RESTARTING, Nodes(up_to=_MOST_PROVED), "large and wide graphs"),
)


@dataclass(frozen=True, slots=True)
class Auto:
    """The quick strategies first, then proof and search side by side: see `TABLE`.

    Parameters
    ----------
    table
        What is asked, where and for how long.
    head_start
        The share of the seconds left that the proof has before the search begins beside
        it, a second at most, where there is a schedule: most questions end before.
    """

    table: tuple[Method, ...] = TABLE
    head_start: float = 0.1
    counts_work: ClassVar[bool] = True
    compiled: ClassVar[tuple[Loading, ...]] = tuple(dict.fromkeys(Search.compiled + Ilp.compiled))
    name: str = "auto"
    summary: str = "the quick strategies, then ilp and search side by side: the default"

    def supports(self, graph: Graph) -> str | None:
        """Any graph."""
        return None

    def improve(self, problem: Problem, incumbent: Incumbent, deadline: Deadline) -> Proof:
        """What the methods find together, and prove."""
        race = _Race(self.table, problem, incumbent, deadline)
        proof = race.run("first")
        if proof.ends or incumbent.is_good_enough:
            return proof
        for part in (EVICTION, SEQUENCES):  # what all that follows needs, in that order
            part.begin()
        if problem.workers == 1:
            return race.one_after_the_other()
        if incumbent.trace is None:  # to find any is most urgent
            return race.side_by_side(0.0)
        return race.side_by_side(min(self.head_start * deadline.seconds_left, _MOST_HEAD_START))


class _Race:
    """The methods of a table on one problem: all end as soon as incumbent and bound meet."""

    def __init__(
        self,
        table: tuple[Method, ...],
        problem: Problem,
        incumbent: Incumbent,
        deadline: Deadline,
    ) -> None:
        self._table, self._problem, self._incumbent = table, problem, incumbent
        self._over = threading.Event()
        self._error: BaseException | None = None
        self._whole, self._deadline = deadline, deadline.unless(self._is_over)

    def _is_over(self) -> bool:
        return self._over.is_set() or self._incumbent.is_good_enough

    def run(self, lane: str) -> Proof:
        """The methods of a lane one after the other, until one of them ends the question."""
        proof = Proof()
        for method in self._table:
            until = self._whole if method.always else self._deadline
            if until.passed or method.lane != lane:
                continue
            if not method.is_for(self._question, until.clock):
                continue
            found = self._ask(method, until)
            proof = found if found != Proof() else proof
            if proof.ends:
                break
        return proof

    @property
    def _question(self) -> Question:
        problem, seconds = self._problem, self._deadline.seconds_left
        return Question(len(problem.graph), problem.workers, self._incumbent.gap, seconds)

    def _ask(self, method: Method, deadline: Deadline) -> Proof:
        """One method; the threads of all lanes together are the problem's workers."""
        problem, solver = self._problem, method.solver
        if problem.workers > 1 and method.lane == "search":
            problem = replace(problem, workers=problem.workers - 1)
        elif problem.workers > 1 and method.lane == "proof":  # beside that, and not the same
            problem = replace(problem, workers=1, seed=problem.seed + problem.workers)
        incumbent = self._incumbent.by(solver.name)
        until = deadline.share(method.share, method.least)
        if (part := method.meanwhile) is not None:
            part.begin()
            until = until.unless(lambda: part.is_ready)
        LOG.debug("auto: asking %s, %s", solver.name, method.purpose)
        proof = solver.improve(problem, incumbent, until)
        incumbent.prove(proof)
        return proof

    def one_after_the_other(self) -> Proof:
        """Proof, then search, in this thread."""
        proof = self.run("proof")
        if not (proof.ends or self._incumbent.is_good_enough):
            self.run("search")
        return proof

    def side_by_side(self, head_start: float) -> Proof:
        """Proof here and, once it has had its head start, search in another thread.

        Where the proof leaves the question open, this waits for the search: a round of
        annealing ends with the time limit, and finds its best only then.
        """
        done = threading.Event()

        def follow() -> None:
            try:
                if not self._over.wait(head_start):
                    self.run("search")
            except BaseException as error:  # noqa: BLE001 - raised again by the main thread
                self._error = error
                self._over.set()
            finally:
                done.set()

        threading.Thread(target=follow, daemon=True).start()
        try:
            proof = self.run("proof")
            while not (proof.ends or self._deadline.passed or done.wait(_BEAT)):
                pass
        finally:
            self._over.set()
            done.wait(_PATIENCE)
        if self._error is not None:
            raise self._error
        return proof
