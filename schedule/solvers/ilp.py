"""The exact method: the staged integer program, refined until its plan fits."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

from schedule.graph import Graph
from schedule.lowering import needed_in_order
from schedule.result import Order
from schedule.solvers.annealing import SEQUENCES
from schedule.solvers.classics.mixed import Mixed
from schedule.solvers.classics.revolve import uniform_chain
from schedule.solvers.classics.sqrt import Sqrt
from schedule.solvers.contract import Deadline, Incumbent, Problem, Proof
from schedule.solvers.eviction import EVICTION
from schedule.solvers.exact.corridor import CORRIDOR
from schedule.solvers.exhaustive import states
from schedule.solvers.exhaustive.astar import ASTAR, is_within_reach
from schedule.solvers.greedy import QUICK, Greedy
from schedule.solvers.kit.loading import PATIENCE, Loading
from schedule.solvers.program.operations import operations_of
from schedule.solvers.reorder import Reordering
from schedule.values import require_kind

if TYPE_CHECKING:
    from schedule.solvers.annealing.searcher import Searcher
    from schedule.solvers.exact.refinement import Refinement, RefinementSettings
    from schedule.solvers.exhaustive.astar.search import AStar

#: How far to go: what needs no integer program; the first programs, in the order that is
#: asked for; all there is.
Until = Literal["opening", "first programs", "end"]


@dataclass(frozen=True, slots=True)
class IlpSettings:
    """How time and work are divided.

    Attributes
    ----------
    first, longer, given
        In a free order: the share of the seconds left that is first spent on any order
        (which may prove all there is to prove); of the rest, the share that it gets at once
        where it stopped at a model with nothing cheaper than the incumbent in it, so that it
        may only take longer; and the share that the given order may then take.
    quick, orders
        The share of the seconds left that each quick plan may take, and the search for
        another order that fits.
    greedy, greedy_alone
        The share of the seconds left that `greedy` may take, once the first programs leave
        the question open, and where no schedule is known then.
    states, thorough, few
        States up to which small graphs are searched at first (half a second), and again
        where the integer programs don't decide (fifteen seconds); graphs of up to `few`
        nodes are searched that far at once. That is without a compiler; where it is loaded, what it
        made does that in a twentieth of the time, before any plans.
    patience
        States after which a search has the compiled one loaded, for the next.
    programs, least, most, astar, astar_lost, astar_alone, lost
        Of graphs of up to some hundred operations: the share of the seconds left that
        programs may take at first; the seconds that they may take at least, and the most
        that these may be as a share; of the rest, the share that the search of states may
        take before programs go on, its share where the gap is above `lost`, and where no
        schedule is known; it gets what these leave, too.
    rough, more_rough, negligible
        The shares, first and after all programs, for a search that is quicker, in which what
        takes less than `negligible`, a share of the budget, takes nothing: its bounds hold.
    spans, wide
        In a free order, the share of the seconds left for a bound that adds up over spans of
        a path, and the gap from which on it is worth them, as a share of every node once.
    refinement
        How models are refined; None: `RefinementSettings()`.
    """

    first: float = 0.15
    longer: float = 0.5
    given: float = 0.6
    quick: float = 0.2
    orders: float = 0.1
    greedy: float = 0.15
    greedy_alone: float = 0.75
    states: int = states.MOST_STATES
    thorough: int = 300_000
    few: int = 12
    patience: int = 300
    programs: float = 0.05
    least: float = 0.3
    most: float = 0.4
    astar: float = 0.15
    astar_lost: float = 0.5
    astar_alone: float = 0.7
    lost: float = 0.1
    rough: float = 0.1
    more_rough: float = 0.5
    negligible: float = 0.01
    spans: float = 0.5
    wide: float = 0.01
    refinement: RefinementSettings | None = None


_USUAL = IlpSettings()


@dataclass(frozen=True, slots=True)
class Ilp:
    """An exact method: integer programs that are relaxations, refined until a solution fits.

    The model knows memory only at a few cut points, so its optimum is a lower
    bound, and its solution, laid out as steps and replayed, is proved optimal
    as soon as it fits. Where it doesn't, the step with the most memory in use
    becomes a cut point (or gets a memory row of its own), and the model is
    solved again (dynamic discretization discovery, Boland et al. 2017,
    doi:10.1287/opre.2017.1624, on the staged model of Jain et al. 2020,
    arXiv:1910.02653).

    In a free order, an order in which the graph fits as it is comes first (the
    exhaustive search of `reorder`). Graphs of up to some hundred operations are searched
    exhaustively, too, as far as that goes (`schedule.solvers.exhaustive`).
    Uniform training chains are not searched: their optimum is known in closed form
    (`schedule.solvers.classics.revolve`).

    For `order="free"` a second refinement bounds every order: its cut points
    lie on one directed path, and what the path doesn't place may run on either
    side. NP-hard; in practice seconds for training graphs of thousands of
    nodes.

    Asked again with the same incumbent, and settings, it goes on where it stopped.

    Parameters
    ----------
    starts
        Whether to begin with the plan of `sqrt`, and that of `mixed`, as a warm start;
        without, the first bound is found sooner.
    searches
        Whether `greedy` is asked, too, its quick rules before the programs, and sequences of
        runs are annealed where the programs are hard; without, others see to that.
    until
        How far to go: up to what needs no integer program (`opening`), through the
        `first programs`, or to the `end`.
    settings
        How time and work are divided.
    """

    starts: bool = True
    searches: bool = True
    until: Until = "end"
    settings: IlpSettings = _USUAL
    counts_work: ClassVar[bool] = True
    compiled: ClassVar[tuple[Loading, ...]] = (*Greedy.compiled, SEQUENCES, ASTAR, CORRIDOR)
    name: str = "ilp"
    summary: str = "integer programs on HiGHS, refined until proved; exact in the given order"

    def __post_init__(self) -> None:
        require_kind(self.settings, IlpSettings, "settings of 'ilp'")

    def supports(self, graph: Graph) -> str | None:
        """Any graph."""
        return None

    def improve(self, problem: Problem, incumbent: Incumbent, deadline: Deadline) -> Proof:
        """Schedules, and what is proved in the order that is asked for."""
        settings = self.settings
        progress = incumbent.resume(
            (Ilp, settings), lambda: _Progress(problem, incumbent, settings)
        )
        if progress.opening is None:
            progress.opening = progress.open(self.starts, deadline)
            incumbent.prove(progress.opening)
        is_decided = progress.opening.ends or incumbent.is_good_enough
        if self.until == "opening" or is_decided or deadline.passed:
            return progress.opening
        if self.searches:
            progress.follow_quick_rules(deadline)
        if self.until == "first programs":
            return progress.refinement(problem.order, self.searches).run(
                deadline, patient=problem.order == "fixed"
            )
        return progress.prove(self.searches, deadline)


@dataclass
class _Progress:
    """How far the method has come with a problem.

    Attributes
    ----------
    opening
        What needed no integer program; None: not tried yet.
    """

    problem: Problem
    incumbent: Incumbent
    settings: IlpSettings
    opening: Proof | None = None
    _refinements: dict[Order, Refinement] = field(default_factory=dict)
    _searcher: Searcher | None = None
    _searches_of: dict[int, AStar] = field(default_factory=dict)  # by what is negligible in it
    _searches: bool = True
    _has_spans: bool = False
    _has_evicted: bool = False

    def open(self, starts: bool, deadline: Deadline) -> Proof:
        """The program as it is, closed forms, quick plans, other orders, small graphs."""
        problem, incumbent, graph = self.problem, self.incumbent, self.problem.graph
        plain = needed_in_order(graph)
        if incumbent.by("store_all").offer(plain):
            return Proof()
        chain = uniform_chain(graph)
        if chain is not None:
            revolve = incumbent.by("revolve")
            proof = chain.improve(problem, revolve, deadline)
            if proof is not None:
                revolve.prove(proof)
                return proof
        is_small, proof = states.is_small(graph), Proof()
        is_ready = ASTAR.counts_as_ready(deadline.clock)
        is_first = is_small and is_ready and is_within_reach(problem)
        if is_first:  # it takes no longer than plans do
            proof = self._search_states(deadline.with_work(self.settings.states))
            incumbent.prove(proof)
            if proof.ends or incumbent.is_good_enough:
                return proof
        for quick in (Mixed(), Sqrt()) if starts else ():
            if not deadline.passed and quick.supports(graph) is None:
                until = deadline.share(self.settings.quick)
                quick.improve(problem, incumbent.by(quick.name), until)
        # Nothing has to run twice where another order fits, which is soon found, or not at all.
        if problem.order == "free" and not deadline.passed:
            until = deadline.share(self.settings.orders)
            reordering = Reordering(problem, incumbent.by("reorder"), until)
            if reordering.prove_floor() <= (problem.budget or 0):
                reordering.search()
        if is_first or incumbent.is_good_enough or not is_small:
            return proof
        return self._search(deadline)

    @property
    def _is_tiny(self) -> bool:
        return int(self.problem.graph.layout.needed.sum()) <= self.settings.few

    def _search(self, deadline: Deadline, again: bool = False) -> Proof:
        """The exhaustive search of small graphs; when it is asked again, a longer one."""
        settings = self.settings
        most_states = settings.thorough if again or self._is_tiny else settings.states
        graph, order, incumbent = self.problem.graph, self.problem.order, self.incumbent
        budget, below = self.problem.budget or 0, self.problem.asked(incumbent.compute)
        until = deadline.with_work(most_states)
        found = states.least_compute(graph, budget, order, deadline=until, below=below)
        if most_states - until.work > self.settings.patience:
            ASTAR.begin()  # the next such search has it
        if found.codes is not None:
            incumbent.offer(found.codes)
        if found.bound is not None:
            return Proof(bound=found.bound)
        # Nothing fits: what would?
        peak = states.least_peak(graph, order, deadline=deadline.with_work(most_states))
        if peak.codes is not None:
            incumbent.offer(peak.codes)
        proof = max(found, peak, key=lambda each: each.needed or 0)
        return Proof(needed=proof.needed, node=proof.node)

    def prove(self, searches: bool, deadline: Deadline) -> Proof:
        """Integer programs, and for a small graph that they leave open, a longer search."""
        graph = self.problem.graph
        until = deadline.unless(lambda: self.incumbent.is_good_enough)
        if is_within_reach(self.problem):
            return self._prove_by_states(searches, until)
        proof = self._refine(searches, deadline)
        if proof.ends or until.passed or self._is_tiny or not states.is_small(graph):
            return proof
        self.incumbent.prove(proof)
        return self._search(deadline, again=True)

    def _prove_by_states(self, searches: bool, deadline: Deadline) -> Proof:
        """The first programs, states for a while, then what either of them leaves open."""
        settings = self.settings

        def programs(until: Deadline) -> Proof:
            least = min(settings.least, settings.most * until.seconds_left)
            first = until.share(settings.programs, least)
            return self.refinement(self.problem.order, searches).run(first)

        def programs_meanwhile(until: Deadline) -> Proof:
            """More of them, as long as the states wait for a compiler."""
            is_ready = ASTAR.counts_as_ready
            return self._refine(searches, until.unless(lambda: is_ready(until.clock)))

        def evictions(until: Deadline) -> Proof:
            return self._evict(until) if searches else Proof()

        def rough_states(until: Deadline) -> Proof:
            return self._search_roughly(until.share(settings.rough))

        def more_rough_states(until: Deadline) -> Proof:
            return self._search_roughly(until.share(settings.more_rough))

        def some_states(until: Deadline) -> Proof:
            is_lost = self.incumbent.gap > settings.lost
            share = settings.astar_lost if is_lost else settings.astar
            if self.incumbent.trace is None:
                share = settings.astar_alone
            return self._search_states(until.share(share))

        def all_programs(until: Deadline) -> Proof:
            return self._refine(searches, until)

        ASTAR.begin()
        proof = Proof()
        steps = (
            programs,
            evictions,
            programs_meanwhile,
            rough_states,
            some_states,
            all_programs,
            more_rough_states,
            self._search_states,
        )
        for step in steps:
            if deadline.passed or proof.ends:
                break
            proof = step(deadline)
            self.incumbent.prove(proof)
        return proof

    def _search_roughly(self, deadline: Deadline) -> Proof:
        """The same, where what is small against the budget takes nothing: with fewer states."""
        negligible = int(self.settings.negligible * (self.problem.budget or 0))
        sizes = operations_of(self.problem.graph, self.problem.order).size
        has_any = bool(((sizes > 0) & (sizes < negligible)).any())
        return self._search_states(deadline, negligible) if has_any else Proof()

    def _search_states(self, deadline: Deadline, negligible: int = 0) -> Proof:
        """The compiled search of states, where it stopped."""
        if not ASTAR.wait(self.incumbent, deadline):
            return Proof()
        from schedule.solvers.exhaustive.astar.search import AStar

        if negligible not in self._searches_of:
            self._searches_of[negligible] = AStar(self.problem, negligible=negligible)
        return self._searches_of[negligible].run(self.incumbent, deadline)

    def follow_quick_rules(self, deadline: Deadline) -> None:
        """A start for the programs, in some milliseconds, where no compiler is in the way."""
        if EVICTION.wait(self.incumbent, deadline, PATIENCE):
            until = deadline.share(self.settings.quick)
            Greedy(QUICK).improve(self.problem, self.incumbent.by("greedy"), until)

    def _evict(self, deadline: Deadline) -> Proof:
        """What `greedy` finds in its share: once, as it begins anew where it didn't end."""
        if self._has_evicted:
            return Proof()
        self._has_evicted = True
        settings, incumbent = self.settings, self.incumbent.by("greedy")
        share = settings.greedy_alone if incumbent.trace is None else settings.greedy
        return Greedy().improve(self.problem, incumbent, deadline.share(share))

    def _refine(self, searches: bool, deadline: Deadline) -> Proof:
        """Integer programs, in the order that is asked for and the given one."""
        settings, order = self.settings, self.problem.order
        asked = self.refinement(order, searches)
        if order == "free" or searches:
            proof = asked.run(deadline.share(settings.first), patient=order == "fixed")
            if proof.ends or asked.closed or deadline.passed:
                return proof
            if searches:
                self._evict(deadline)
        if order == "free":
            self._prove_spans(deadline.share(settings.spans))
            if asked.is_patient and not (asked.closed or deadline.passed):
                proof = asked.run(deadline.share(settings.longer))
            if proof.ends or asked.closed or deadline.passed:
                return proof
            share = 1.0 if asked.finished else settings.given
            self.refinement("fixed", searches).run(deadline.share(share))
        return asked.run(deadline)

    def _prove_spans(self, deadline: Deadline) -> None:
        """Once, and where much is open: the bound that adds up over spans of a path."""
        if self._has_spans or self.incumbent.gap < self.settings.wide:
            return
        self._has_spans = True
        # HiGHS is loaded only when it is needed.
        from schedule.solvers.exact.spans import prove_spans

        prove_spans(
            self.problem, self.incumbent, deadline.unless(lambda: self.incumbent.is_good_enough)
        )

    def refinement(self, order: Order, searches: bool) -> Refinement:
        """The refinement for an order, where it stopped."""
        # HiGHS is loaded only when it is needed.
        from schedule.solvers.exact.refinement import REFINEMENT, Refinement

        # Who goes on where another stopped may search, and the other not.
        self._searches = searches

        def searcher(deadline: Deadline) -> Searcher | None:
            return self._loaded_searcher(deadline) if self._searches else None

        if order not in self._refinements:
            self._refinements[order] = Refinement(
                self.problem,
                order,
                self.incumbent,
                searcher,
                self.settings.refinement or REFINEMENT,
            )
        return self._refinements[order]

    def _loaded_searcher(self, deadline: Deadline) -> Searcher | None:
        """The search that all refinements share; None while its code isn't ready."""
        problem, incumbent = self.problem, self.incumbent
        for part in (EVICTION, SEQUENCES):
            if not part.wait(incumbent, deadline, PATIENCE):
                return None
        if self._searcher is None:
            # Numba is loaded only when it is needed.
            from schedule.solvers.annealing.searcher import Searcher

            self._searcher = Searcher(problem, problem.order, incumbent, problem.seed)
        return self._searcher
