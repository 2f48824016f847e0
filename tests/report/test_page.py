"""The page works in a real browser: it shows what the memory model says, and asks for nothing."""

from __future__ import annotations

import re
from collections import Counter
from importlib.resources import files

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import schedule
from schedule import sweep
from schedule.errors import BadOption, BadOutput, InvalidSchedule, WrongGraph
from schedule.figures import format_share
from schedule.lowering import in_order, replayed
from schedule.report.lifetimes import lifetimes
from schedule.report.page import page, page_data, sweep_page, write_page, write_sweep_page
from tests import strategies
from tests.enough import enough, reached
from tests.formats import FILES_ARE_CHECKED
from tests.report import browser

pytestmark = FILES_ARE_CHECKED

ASSETS = files("schedule.report").joinpath("assets")


@pytest.fixture(scope="module")
def driver():
    with browser.opened() as made:
        yield made


@pytest.fixture(scope="module")
def plan():
    return schedule.solve(schedule.example("unet"), "70%")


@pytest.fixture(scope="module")
def trace(plan):
    return schedule.verify(schedule.example("unet"), plan.schedule)


@pytest.fixture(scope="module")
def written(plan, trace, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_page(trace, path, plan)
    return path


@pytest.fixture
def shown(driver, written):
    """The page, freshly opened; at the end, nothing was complained of or asked for."""
    browser.visit(driver, written)
    yield driver
    console, asked = browser.complaints(driver)
    assert not console
    assert [url for url in asked if not url.startswith("data:")] == [written.as_uri()]


def at(driver):
    """The step that is looked at."""
    browser.settle(driver)
    return driver.execute_script("return page.state.step")


def text(driver, name):
    browser.settle(driver)
    return driver.execute_script("return document.getElementById(arguments[0]).innerText", name)


def press(driver, *keys, on="timeline"):
    from selenium.webdriver.common.by import By

    driver.find_element(By.ID, on).send_keys(*keys)
    browser.settle(driver)


def key(name):
    from selenium.webdriver.common.keys import Keys

    return getattr(Keys, name)


def mouse(driver, step, *, click):
    """Move the mouse to the middle of a step of the timeline, and click there."""
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By

    timeline = driver.find_element(By.ID, "timeline")
    x = driver.execute_script("return page.chart.x(arguments[0] + 0.5)", step)
    away = round(x - timeline.size["width"] / 2)
    moved = ActionChains(driver).move_to_element_with_offset(timeline, away, 0)
    (moved.click() if click else moved).perform()
    browser.settle(driver)


def focus(driver):
    return driver.execute_script("return document.activeElement.id")


# The model in the page against the memory model

MODEL = """
const data = arguments[0], model = makeModel(data, data.plans[0]), steps = [];
for (let s = 0; s <= model.steps; s++)
  steps.push(model.shares(s).map((part) => [part.name, part.size, part.role]));
return [steps, Array.from(model.memory), model.stays];
"""


@settings(max_examples=60)
@given(data=st.data())
def test_model_of_any_schedule(driver_for_models, data):
    """Memory at every step, its parts, and the stays of every tensor are those of the trace."""
    graph = data.draw(strategies.graphs(min_nodes=1))
    if data.draw(st.booleans()):
        levels = data.draw(strategies.machines())
        steps = data.draw(strategies.machine_steps(graph, levels))
        assume(steps)
        trace = schedule.simulate(graph, steps, levels)
    else:
        trace = replayed(graph, np.array(data.draw(strategies.runs(graph)), np.int64))
    steps, memory, stays = driver_for_models.execute_script(MODEL, page_data(trace, None, None))
    assert memory == [*trace.during.tolist(), int(trace.after[-1])]
    for step in range(len(trace.codes)):
        assert Counter(map(tuple, steps[step])) == Counter(map(tuple, trace.shares(step)))
        assert [size for _, size, _ in steps[step]] == [part.memory for part in trace.shares(step)]
        live = trace.live_before(step).tolist()
        assert [any(a < step <= b for a, b in stay) for stay in stays] == live
    assert sum(size for _, size, _ in steps[-1]) == trace.after[-1]


def made_again(trace, tensor, step, read, runs):
    """The steps in which `tensor` is freed at `step`, and `runs` make it again for `read`."""
    layout, codes = trace.graph.layout, trace.codes.tolist()
    live = trace.live_before(read)
    passing = [~t for v in runs for t in layout.outputs_of[v] if not live[t] and t != tensor]
    return np.array(
        [*codes[:step], ~tensor, *codes[step:read], *runs, *passing, *codes[read:]], np.int64
    )


@enough(0.05)
@settings(max_examples=60)
@given(data=st.data())
def test_remaking_costs_what_it_costs(driver_for_models, data):
    """Freed and made again by the runs that the page names, the schedule is valid; no run less."""
    graph = data.draw(strategies.graphs(min_nodes=2))
    trace = replayed(graph, np.array(data.draw(strategies.runs(graph)), np.int64))
    layout, made = graph.layout, trace.graph.layout.producer
    cases = [
        (tensor, step + 1, read)
        for step, v in enumerate(trace.codes.tolist())
        if v >= 0
        for tensor in layout.outputs_of[v]
        for read in range(step + 2, len(trace.codes))
        if trace.codes[read] >= 0
        and tensor in layout.reads_of[int(trace.codes[read])]
        and (trace.codes[step + 1 : read] != ~tensor).all()
        and not any(
            u >= 0 and (u == v or tensor in layout.reads_of[u])
            for u in trace.codes[step + 1 : read].tolist()
        )
    ]
    assume(cases)
    tensor, step, read = data.draw(st.sampled_from(cases))
    found = driver_for_models.execute_script(
        "const data = arguments[0]; return makeModel(data, data.plans[0])"
        ".remaking(arguments[1], arguments[2])",
        *(page_data(trace, None, None), tensor, read),
    )
    if "blocked" in found:
        assert "can't come back" in found["blocked"] or not layout.recomputable.all()
        return
    reached()
    runs = found["runs"]
    assert made[tensor] in runs
    again = schedule.simulate(graph, made_again(trace, tensor, step, read, runs))
    assert again.compute == pytest.approx(trace.compute + found["cost"])
    for left in runs:
        fewer = [v for v in runs if v != left]
        with pytest.raises(InvalidSchedule, match=r"reads .*, which|is not live"):
            schedule.simulate(graph, made_again(trace, tensor, step, read, fewer))


@enough(0.05)
@settings(max_examples=60)
@given(data=st.data())
def test_keeping_takes_what_it_takes(driver_for_models, data):
    """Had a tensor been kept, memory would have been what the memory model says."""
    graph = data.draw(strategies.graphs(min_nodes=1))
    trace = replayed(graph, np.array(data.draw(strategies.runs(graph)), np.int64))
    codes = trace.codes.tolist()
    gaps = [
        (~code, freed, made)
        for freed, code in enumerate(codes)
        if code < 0 and graph.layout.producer[~code] >= 0
        for made in range(freed + 2, len(codes))
        if codes[made] == graph.layout.producer[~code] and codes[made] not in codes[freed:made]
    ]
    assume(gaps)
    reached()
    tensor, freed, made = data.draw(st.sampled_from(gaps))
    found = driver_for_models.execute_script(
        "const data = arguments[0]; return makeModel(data, data.plans[0])"
        ".keeping(arguments[1], arguments[2], arguments[3])",
        *(page_data(trace, None, None), tensor, freed + 1, made - 1),
    )
    kept = schedule.simulate(graph, np.array(codes[:freed] + codes[freed + 1 : made], np.int64))
    during = kept.during[freed:]
    assert found["most"] == during.max()
    assert during[found["at"] - freed - 1] == during.max()


@pytest.fixture(scope="module")
def driver_for_models(driver, written):
    browser.visit(driver, written)
    return driver


# What is shown


def test_figures(shown, plan, trace):
    """The figures are those of the plan, and the page begins at its peak."""
    found = text(shown, "figures")
    assert "22.24 MiB" in found
    assert format_share(plan.overhead) in found
    assert at(shown) == trace.peak_step
    assert "planned by auto, free order · optimal" in text(shown, "subtitle")


def test_table_is_sorted_and_adds_up(shown, trace):
    """The tensors live at a step, the largest first; all of them on demand."""
    sizes = shown.execute_script("return page.model.shares(page.state.step).map((x) => x.size)")
    assert sizes == [part.memory for part in trace.peak_shares]
    rows = text(shown, "live").splitlines()
    assert rows[0].startswith(trace.peak_shares[0].name)
    assert len(rows) == min(40, len(sizes))


def test_rows_beyond_the_first_on_demand(driver, tmp_path):
    """A long table comes in parts; its button stays where it is, and ends with the short one."""
    g = schedule.GraphBuilder()
    tensors = [g.node(f"t{at}", memory=at + 1) for at in range(300)]
    g.node("last", tensors, memory=1)
    write_page(in_order(g.build()), tmp_path / "page.html")
    browser.visit(driver, tmp_path / "page.html")
    counts = []
    for _ in range(4):
        counts.append(len(text(driver, "live").splitlines()))
        press(driver, key("ENTER"), on="more")
    assert counts == [40, 240, 301, 40]
    assert focus(driver) == "more"


def test_click_goes_to_a_step(shown, trace):
    """A click on the timeline looks at the step under the mouse."""
    mouse(shown, 30, click=True)
    assert at(shown) == 30
    assert f"Step 30 of {len(trace.codes)}" in text(shown, "at")


def test_hover_tells_of_a_step(shown, trace):
    """Under the mouse stand the step, what it does and its memory; not when it has left."""
    step = int(np.flatnonzero(trace.codes >= 0)[20])
    mouse(shown, step, click=False)
    hint = text(shown, "hint")
    name = trace.graph.layout.node_names[int(trace.codes[step])]
    assert hint.startswith(f"step {step}: run {name}")
    assert shown.execute_script("return page.model.memory[arguments[0]]", step) == int(
        trace.during[step]
    )
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By

    ActionChains(shown).move_to_element(shown.find_element(By.ID, "title")).perform()
    assert not shown.find_element(By.ID, "hint").is_displayed()


def test_keys_go_through_the_steps(shown, trace):
    """Arrows, pages, ends, the peak and the backward pass; never outside the schedule."""
    last = len(trace.codes)
    press(shown, key("HOME"))
    assert at(shown) == 0
    for keys, step in (
        ((key("ARROW_LEFT"),), 0),
        ((key("ARROW_RIGHT"),), 1),
        ((key("SHIFT"), key("ARROW_RIGHT")), 11),
        ((key("PAGE_DOWN"),), 111),
        ((key("ARROW_DOWN"),), 110),
        ((key("END"),), last),
        ((key("ARROW_RIGHT"),), last),
        (("p",), trace.peak_step),
        (("b",), trace.boundary),
    ):
        press(shown, *keys)
        assert at(shown) == step
        spoken = shown.execute_script(
            "return document.getElementById('timeline').getAttribute('aria-valuetext')"
        )
        assert spoken.startswith(f"step {step}: ")


def test_zoom_by_keys_buttons_and_wheel(shown):
    """Each makes the visible part smaller around where one is; all can be seen again."""
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By

    def width():
        browser.settle(shown)
        return shown.execute_script("return page.chart.view.to - page.chart.view.from")

    timeline = shown.find_element(By.ID, "timeline")
    whole = width()
    press(shown, "+")
    assert width() == pytest.approx(whole / 2)
    shown.find_element(By.ID, "zoom-in").click()
    assert width() == pytest.approx(whole / 4)
    press(shown, "0")
    assert width() == whole
    origin = ActionChains(shown).move_to_element(timeline)
    origin.scroll_by_amount(0, -300).perform()
    if width() == whole:  # without a pointer the wheel turns over the page
        shown.execute_script(
            "arguments[0].dispatchEvent(new WheelEvent('wheel',"
            " {deltaY: -300, clientX: 600, cancelable: true}))",
            timeline,
        )
    assert width() < whole


def test_dragging_moves_the_view(shown):
    """What is zoomed in on can be pushed aside, and that chooses no step."""
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By

    press(shown, key("HOME"), "+", "+")
    timeline = shown.find_element(By.ID, "timeline")
    ActionChains(shown).drag_and_drop_by_offset(timeline, -200, 0).perform()
    browser.settle(shown)
    assert shown.execute_script("return page.chart.view.from") > 0
    assert at(shown) == 0


def test_search_by_keyboard(shown, trace):
    """`/` begins, arrows choose, Enter takes: the first run of the node, and the node."""
    press(shown, "/")
    assert focus(shown) == "search"
    press(shown, "down1b", on="search")
    options = text(shown, "found").splitlines()
    assert options
    assert all("down1b" in option for option in options)
    press(shown, key("ARROW_DOWN"), key("ARROW_UP"), key("ENTER"), on="search")
    node = trace.graph.layout.node_id["down1b"]
    assert text(shown, "detail-title") == "down1b"
    assert at(shown) == int(np.flatnonzero(trace.codes == node)[0])
    assert focus(shown) == "detail-title"
    press(shown, "/")
    press(shown, "no such name", on="search")
    assert "Nothing has a name" in text(shown, "none")


def test_neighbourhood_of_a_node(shown, trace):
    """What it reads and what reads it, as the graph has it; each leads on."""
    layout = trace.graph.layout
    v = layout.node_id["concat0"]
    shown.execute_script("page.choose({node: arguments[0]})", v)
    around = shown.execute_script(
        "return [...document.querySelectorAll('.around > div')].map((column) =>"
        " [...column.querySelectorAll('button')].map((link) => link.textContent))"
    )
    readers = [u for t in layout.outputs_of[v] for u in layout.readers_of[t]]
    assert around[0] == [layout.tensor_names[t] for t in layout.reads_of[v]]
    assert around[1] == ["concat0"]
    assert around[2] == [layout.node_names[u] for u in readers]
    edges = shown.execute_script("return document.querySelectorAll('.edges path').length")
    assert edges == len(around[0]) + len(around[2])


def test_why_a_tensor_is_recomputed(shown, trace):
    """The page says when it was freed, when it comes again and for what, and what that costs."""
    layout = trace.graph.layout
    first, second = next(
        (a, b)
        for a in lifetimes(trace)
        for b in lifetimes(trace)
        if a.storage == b.storage and a.end < b.start
    )
    middle = (first.end + second.start) // 2
    shown.execute_script(
        "page.choose({tensor: arguments[0]}); page.go(arguments[1])", first.storage, middle
    )
    said = text(shown, "detail-body")
    maker = trace.graph.nodes[int(layout.producer[first.storage])]
    assert f"freed at step {first.end}, made again at step {second.start} for " in said
    assert f"costs a run of {maker.name}: {maker.compute:,}" in said


def test_why_a_tensor_is_kept(shown, trace):
    """The page says when it is next read, and what recomputing it would cost."""
    layout = trace.graph.layout
    stay = max(
        (stay for stay in lifetimes(trace) if 0 <= stay.start < trace.boundary < stay.end),
        key=lambda stay: stay.end - stay.start,
    )
    shown.execute_script(
        "page.choose({tensor: arguments[0]}); page.go(arguments[1])", stay.storage, trace.boundary
    )
    read = next(
        step
        for step in range(trace.boundary, stay.end)
        if trace.codes[step] >= 0 and stay.storage in layout.reads_of[int(trace.codes[step])]
    )
    said = text(shown, "detail-body")
    assert f"in memory since step {stay.start}; next read at step {read} by " in said
    assert "Kept: to recompute it for that read would cost" in said


def test_links_keep_the_keyboard_where_it_was(shown):
    """What was chosen by Enter has the focus afterwards, not the top of the page."""
    from selenium.webdriver.common.by import By

    shown.find_element(By.CSS_SELECTOR, "#live button").send_keys(key("ENTER"))
    assert focus(shown) == "detail-title"
    shown.find_element(By.ID, "follow").send_keys(key("ENTER"))
    assert focus(shown) == "detail-title"
    press(shown, key("ARROW_RIGHT"), on="detail-title")
    links = shown.find_elements(By.CSS_SELECTOR, "#detail-body [aria-label^='go to step']")
    links[0].send_keys(key("ENTER"))
    assert focus(shown) == "timeline"


def test_everything_that_takes_the_focus_has_a_name(shown):
    """A screen reader can say what each control is, and the timeline's value."""
    nodes = shown.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    focusable = [
        node
        for node in nodes
        if not node.get("ignored")
        and any(p["name"] == "focusable" and p["value"]["value"] for p in node["properties"])
        and node["role"]["value"] != "RootWebArea"
    ]
    assert len(focusable) > 20
    for node in focusable:
        assert node["name"]["value"].strip(), node
    roles = {node["role"]["value"] for node in nodes if not node.get("ignored")}
    assert {"slider", "combobox", "main", "search", "table", "heading", "status"} <= roles


def test_tab_reaches_every_control(shown):
    """From the top by Tab alone: search, zoom, timeline, step, and the links."""
    from selenium.webdriver.common.by import By

    shown.execute_script("document.activeElement.blur(); window.scrollTo(0, 0)")
    reached = []
    for _ in range(12):
        shown.switch_to.active_element.send_keys(key("TAB"))
        reached.append(focus(shown))
    assert reached[0] == "search"
    assert {"zoom-out", "zoom-in", "zoom-all", "to-peak", "to-turn", "timeline", "step"} <= set(
        reached
    )
    assert shown.find_element(By.CSS_SELECTOR, "#live button").get_attribute("type") == "button"


def colours(css, name):
    """The page's colours in the light or the dark, by their names."""
    blocks = re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    found = re.findall(r"--(\w+): #([0-9a-f]{6})", blocks[0 if name == "light" else 1])
    return {key: tuple(int(code[at : at + 2], 16) / 255 for at in (0, 2, 4)) for key, code in found}


def contrast(one, other):
    """WCAG 2.2's contrast ratio of two sRGB colours."""

    def luminance(colour):
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("name", ["light", "dark"])
def test_contrast(name):
    """Letters have 4.5 : 1 against what is behind them, lines of the chart 3 : 1 (WCAG AA)."""
    found = colours(ASSETS.joinpath("page.css").read_text("utf-8"), name)
    for ink in ("ink", "soft", "accent", "budget", "turn", "planned"):
        for paper in ("card", "paper"):
            assert contrast(found[ink], found[paper]) >= 4.5, (ink, paper)
    for line in ("plain", "planned", "rerun"):
        assert contrast(found[line], found["card"]) >= 3, line


def test_dark_follows_the_system(driver, written):
    """The paper is dark where the system is."""
    seen = []
    for dark in (False, True):
        browser.visit(driver, written, dark=dark)
        seen.append(driver.execute_script("return getComputedStyle(document.body).backgroundColor"))
    light, dark = (sum(map(int, re.findall(r"\d+", colour))) for colour in seen)
    assert dark < 120 < 600 < light


HOSTILE = "</script><img src=x onerror=alert(1)>{{data}}<!-- & \" ' ` ${1} \\u2028 \u2028 名"


@pytest.fixture
def wide(driver):
    """Makes the window so wide; as it was, at the end."""
    size = driver.get_window_size()
    yield lambda width: driver.set_window_size(width, size["height"])
    driver.set_window_size(size["width"], size["height"])


WIDTHS = (1300, 1000, 700, 500)
#: Of elements, whose text takes more than a line; which of several texts on the chart meet.
FOLDED = """
return Array.from(document.querySelectorAll(arguments[0]))
  .filter((cell) => {
    const range = document.createRange();
    range.selectNodeContents(cell);
    const ends = Array.from(range.getClientRects(), (box) => box.bottom);
    return Math.max(...ends) - Math.min(...ends) > 8;
  }).map((cell) => cell.innerText);
"""
MEETING = """
const written = [], drawn = CanvasRenderingContext2D.prototype.fillText;
CanvasRenderingContext2D.prototype.fillText = function (text, x, y) {
  const is = this.measureText(text);
  const [left, right] = [x - is.actualBoundingBoxLeft, x + is.actualBoundingBoxRight];
  const [high, low] = [y - is.actualBoundingBoxAscent, y + is.actualBoundingBoxDescent];
  written.push([text, left, right, high, low]);
};
page.chart.fit();
CanvasRenderingContext2D.prototype.fillText = drawn;
page.chart.fit();
const labels = written.filter((each) => /^(peak|budget|backward)/.test(each[0]));
return [labels.map((each) => each[0]), labels.flatMap((a, at) => labels.slice(at + 1)
  .filter((b) => a[1] < b[2] && b[1] < a[2] && a[3] < b[4] && b[3] < a[4])
  .map((b) => [a[0], b[0]]))];
"""


def test_figures_are_rows_of_equals_however_narrow(driver, wide, curve, tmp_path):
    """No figure is cut from its unit, none is wider than another; nor is a budget of a sweep."""
    write_sweep_page(schedule.example("unet"), curve, tmp_path / "sweep.html")
    for width in WIDTHS:
        wide(width)
        browser.visit(driver, tmp_path / "sweep.html")
        assert not driver.execute_script(FOLDED, "#figures dd, #budgets td:first-child, td.figure")
        folded = driver.execute_script(FOLDED, "#budgets td.soft")
        assert all(" " in status for status in folded), "words stay whole"
        tiles = driver.execute_script(
            "return Array.from(document.querySelectorAll('#figures div'), (x) => x.offsetWidth)"
        )
        assert max(tiles) - min(tiles) <= 1


def test_labels_of_the_chart_never_meet(driver, wide, plan, trace, tmp_path):
    """Peak and budget are equally high, as a rule; the peak is always named."""
    host = schedule.Level("host", 2**30, down=1, up=1)
    copied = schedule.solve(trace.graph, "60%", "offload_largest", levels=host)
    for at, (one, its) in enumerate(
        [(plan, trace), (copied, schedule.verify(trace.graph, copied))]
    ):
        write_page(its, tmp_path / f"{at}.html", one)
        for width in WIDTHS:
            wide(width)
            browser.visit(driver, tmp_path / f"{at}.html")
            labels, meeting = driver.execute_script(MEETING)
            assert not meeting
            assert any(label.startswith("peak") for label in labels)
            assert len(labels) == 3 or width < 600


def test_names_are_only_names(driver, tmp_path):
    """Whatever a name is made of, the page shows it and runs nothing of it."""
    g = schedule.GraphBuilder(HOSTILE)
    g.node("b " + HOSTILE, g.node("a " + HOSTILE, memory=1), memory=1)
    write_page(in_order(g.build()), tmp_path / "page.html")
    browser.visit(driver, tmp_path / "page.html")
    assert driver.execute_script("return document.querySelectorAll('img').length") == 0
    title = driver.execute_script("return document.getElementById('title').textContent")
    assert title == HOSTILE
    assert "b </script><img" in text(driver, "live")
    assert not browser.complaints(driver)[0]


def empty():
    return schedule.Graph([], [], None, "nothing")


def no_backward():
    return schedule.example("diamonds", count=2)


@pytest.mark.parametrize("make", [empty, no_backward])
def test_pages_of_odd_graphs(driver, tmp_path, make):
    """A graph without nodes, or without a backward pass, has a page too."""
    write_page(in_order(make()), tmp_path / "page.html")
    browser.visit(driver, tmp_path / "page.html")
    press(driver, "b", "p", key("END"), key("HOME"), "+", "-")
    assert at(driver) == 0
    assert not browser.complaints(driver)[0]


def test_a_page_of_2000_nodes_is_small():
    """Under 1 MB, as the documentation says."""
    graph = schedule.example("transformer", layers=60)
    assert len(graph.nodes) >= 2000
    plan = schedule.solve(graph, solver="sqrt")
    assert len(page(schedule.verify(graph, plan.schedule), plan).encode("utf-8")) < 1_000_000


def test_the_same_schedule_gives_the_same_page(plan, trace):
    """Nothing of the time or the machine is in it."""
    assert page(trace, plan) == page(trace, plan)


# Sweeps


@pytest.fixture(scope="module")
def curve():
    return sweep(schedule.example("unet"), ["20%", "60%", "70%", "80%", "100%"], workers=1)


def test_sweep_page_shows_any_of_its_plans(driver, curve, tmp_path):
    """It begins with the knee; another budget is chosen by Enter, or by a click on the curve."""
    from selenium.webdriver.common.by import By

    write_sweep_page(schedule.example("unet"), curve, tmp_path / "sweep.html")
    browser.visit(driver, tmp_path / "sweep.html")

    def budget():
        browser.settle(driver)
        return driver.execute_script("return page.model.plan.budget")

    assert budget() == curve.knee.budget
    assert len(text(driver, "budgets").splitlines()) == len(curve.points)
    links = driver.find_elements(By.CSS_SELECTOR, "#budgets button")
    assert len(links) == len(curve.planned)
    links[0].send_keys(key("ENTER"))
    assert budget() == curve.planned[0].budget
    assert links[0].get_attribute("aria-pressed") == "true"
    steps = driver.execute_script("return page.model.steps")
    assert steps == len(curve.planned[0].steps)
    driver.find_elements(By.CSS_SELECTOR, "#curve-plot circle")[-1].click()
    assert budget() == curve.planned[-1].budget
    console, asked = browser.complaints(driver)
    assert not console
    assert len([url for url in asked if not url.startswith("data:")]) == 1


def test_sweep_without_schedules_has_no_page():
    """There is nothing to look at."""
    graph = schedule.example("unet")
    with pytest.raises(BadOption, match="no budget of this sweep has a schedule"):
        sweep_page(graph, sweep(graph, ["1%"], workers=1))


def test_sweep_of_another_graph_has_no_page(curve):
    """A page needs the sweep's own graph."""
    with pytest.raises(WrongGraph, match=r"the sweep is one of graph 'unet'"):
        sweep_page(schedule.example("chain"), curve)


def test_page_that_cannot_be_written(trace, tmp_path):
    """The path is named, and nothing is left behind."""
    with pytest.raises(BadOutput, match=r"page\.html: can't be written"):
        write_page(trace, tmp_path / "missing" / "page.html")
    assert not list(tmp_path.iterdir())
