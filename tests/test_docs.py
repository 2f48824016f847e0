"""README and docs say what is true: their code runs, their output is checked."""

import ast
import contextlib
import io
import json
import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from importlib.util import find_spec

import pytest

import schedule
from schedule.cli import commands
from schedule.frontends.graph_format import graph_from_json
from schedule.frontends.schedule_format import result_from_json
from tests import ROOT
from tests.formats import FILES_ARE_CHECKED, VALIDATORS

markdown_it = pytest.importorskip("markdown_it")

pytestmark = FILES_ARE_CHECKED

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
#: Blocks that set up an environment: .ci/run runs them, each in a fresh clone.
INSTALL = "sh install"
#: Blocks that run elsewhere: those, and what the site fills in when .ci/run builds it.
ELSEWHERE = {("README.md", INSTALL), ("reference.md", "{eval-rst}")}


@dataclass(frozen=True)
class Block:
    language: str
    code: str
    where: str
    line: int


def blocks_of(page):
    tokens = markdown_it.MarkdownIt().parse(page.read_text("utf-8"))
    return [
        Block(token.info.strip(), token.content, f"{page.name}:{token.map[0] + 1}", token.map[0])
        for token in tokens
        if token.type == "fence"
    ]


def run_python(block, names):
    """Blocks of a page share their names, as cells of a notebook do."""
    printed = io.StringIO()
    source = "\n" * (block.line + 1) + block.code  # so that tracebacks show the page's lines
    with contextlib.redirect_stdout(printed):
        exec(compile(source, block.where.split(":")[0], "exec"), names)
    return printed.getvalue()


def run_shell(block, shell):
    found = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block.code],
        env=shell,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert found.returncode == 0, f"{block.where}: {found.stdout}{found.stderr}"
    return found.stdout


def matches(expected, printed):
    """Line by line, without space at the ends; … in the page stands for anything."""

    def lines(text):
        return "\n".join(line.rstrip() for line in text.strip().splitlines())

    pattern = ".*?".join(re.escape(part) for part in lines(expected).split("…"))
    return re.fullmatch(pattern, lines(printed), re.DOTALL)


def check_json(block):
    data = json.loads(block.code)
    formats = {"schedule-graph/1": graph_from_json, "schedule/1": result_from_json}
    if data.get("format") in formats and "…" not in block.code:
        VALIDATORS[data["format"]].validate(data)
        formats[data["format"]](data)


#: Optional packages with which a block begins, and what it then needs.
EXTRAS = {
    "torch": ["torch"],
    "jax": ["jax"],
    "distributed": ["distributed"],
    "lightning": ["lightning"],
    "transformers": ["transformers", "accelerate"],  # its Trainer doesn't work without
}


#: Pages all of which need one.
NEEDS = {"torch.md": "torch", "torch-export.md": "torch", "recipes.md": "torch", "jax.md": "jax"}


def missing_extra(block):
    """Whether a block begins with an optional package that isn't installed."""
    found = re.match(r"(?:import|from) (\w+)", block.code)
    needed = EXTRAS.get(found[1], []) if found and block.language == "python" else []
    return not all(map(find_spec, needed))


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # Lightning's use of PyTorch
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_page_runs(page, tmp_path, monkeypatch, shell):
    """Every code block runs, in order, and prints what the page shows."""
    if page.name in NEEDS:
        pytest.importorskip(NEEDS[page.name])
    monkeypatch.chdir(tmp_path)
    for name in re.findall(r'Path\("(\w+)\.py"\)\.write_text', page.read_text("utf-8")):
        monkeypatch.delitem(sys.modules, name, raising=False)  # another test's of that name
    names, printed, left_out = {"__name__": "page"}, None, []
    for block in blocks_of(page):
        if left_out and block.language == "text" and printed is None:
            continue  # the output of a block that didn't run
        if missing_extra(block):
            left_out.append(block.where)
        elif block.language == "python":
            printed = run_python(block, names)
        elif block.language == "sh":
            printed = run_shell(block, shell)
        elif block.language == "json":
            check_json(block)
        elif block.language == "toml":
            tomllib.loads(block.code)
        elif block.language == "text":
            assert printed is not None, f"{block.where}: the output of nothing"
            assert matches(block.code, printed), f"{block.where} prints:\n{printed}"
            printed = None
        else:
            assert (page.name, block.language) in ELSEWHERE, block.where
    if left_out:
        pytest.skip(f"all but what needs an extra ran: {', '.join(left_out)}")


def test_readme_has_two_commands_for_all_the_setup():
    """One installs and runs the main job, one installs and passes the tests; a line each."""
    install = [block for block in blocks_of(ROOT / "README.md") if block.language == INSTALL]
    assert [block.code.count("\n") for block in install] == [1, 1]
    job, tests = (block.code for block in install)
    assert "schedule solve" in job
    assert "schedule replay" in job
    assert "&& pytest" in tests


def links():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
            if not target.startswith(("http:", "https:", "mailto:")):
                yield pytest.param(page, target, id=f"{page.relative_to(ROOT)} → {target}")


@pytest.mark.parametrize(("page", "target"), list(links()))
def test_link_leads_somewhere(page, target):
    """A relative link names a file that is there, and a heading in it."""
    path, _, heading = target.partition("#")
    file = page if not path else page.parent / path
    assert file.exists()
    if heading:
        titles = re.findall(r"^#+ (.+)$", file.read_text("utf-8"), re.MULTILINE)
        assert heading in {re.sub(r"[^\w\- ]", "", t.lower()).replace(" ", "-") for t in titles}


def test_every_page_is_listed():
    """The index leads to every other page: its lists are the sidebar of the site."""
    index = (ROOT / "docs" / "index.md").read_text("utf-8")
    for page in [*PAGES[1:], *(ROOT / "docs" / "notebooks").glob("*.ipynb")]:
        if page.name != "index.md":
            assert f"({page.relative_to(ROOT / 'docs').as_posix()})" in index


def public_names():
    """What the package, `.torch` and `.jax` offer: as it is named, and as an example uses it."""
    for name in schedule.__all__:
        yield pytest.param(name, f"schedule.{name}", id=name)
    for room in ("torch", "jax"):
        tree = ast.parse((ROOT / "schedule" / room / "__init__.py").read_text("utf-8"))
        [names] = [
            ast.literal_eval(line.value)
            for line in tree.body
            if isinstance(line, ast.Assign) and line.targets[0].id == "__all__"
        ]
        for name in names:
            yield pytest.param(name, f"schedule.{room}.{name}", id=f"{room}.{name}")


@pytest.mark.parametrize(("name", "used"), list(public_names()))
def test_public_name_is_documented(name, used):
    """The page on the API names everything that is offered, and shows it in code that runs."""
    page = ROOT / "docs" / "api.md"
    assert f"`{name}" in page.read_text("utf-8")
    code = "\n".join(block.code for block in blocks_of(page) if block.language == "python")
    imported = {
        alias.name
        for line in ast.walk(ast.parse(code))
        if isinstance(line, ast.ImportFrom) and line.module == "schedule"
        for alias in line.names
    }
    assert re.search(rf"{re.escape(used)}\b", code) or (
        name in imported and re.search(rf"\b{name}[(.]", code)
    )


def test_the_page_on_the_api_names_nothing_else():
    """The first names in its tables are public ones, of the package, its `torch` or its `jax`."""
    page = (ROOT / "docs" / "api.md").read_text("utf-8")
    named = {
        name
        for row in re.findall(r"^\| (`.+?) \|", page, re.MULTILINE)
        for name in re.findall(r"`(\w+)", row)
    }
    assert named - {param.values[0] for param in public_names()} <= {"torch", "jax"}


def test_the_reference_has_every_public_name():
    """Signatures and docstrings of all that is offered; of solvers, too, as objects."""
    page = (ROOT / "docs" / "reference.md").read_text("utf-8")
    listed = re.findall(r"^   ([a-z_.]+\.\w+)$|^\.\. py:data:: (.+)$", page, re.MULTILINE)
    names = ["".join(pair) for pair in listed]
    assert len(names) == len(set(names))
    public = {param.values[1] for param in public_names()} - {"schedule.__version__"}
    solvers = {f"schedule.solvers.{type(s).__name__}" for s in schedule.SOLVERS.values()}
    assert public | solvers <= set(names)


@pytest.mark.parametrize("path", sorted((ROOT / "docs").rglob("*.ipynb")), ids=lambda p: p.name)
def test_a_notebook_is_kept_without_outputs(path):
    """What it prints is made when the site is built, so that it can't be out of date."""
    for cell in json.loads(path.read_text("utf-8"))["cells"]:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


def test_the_version_is_the_same_everywhere():
    """The package, the changelog's first heading, and what is cited."""
    changelog = (ROOT / "docs" / "changelog.md").read_text("utf-8")
    assert re.search(r"^## (\S+)", changelog, re.MULTILINE)[1] == schedule.__version__
    citation = (ROOT / "CITATION.cff").read_text("utf-8")
    assert re.search(r"^version: (.+)$", citation, re.MULTILINE)[1] == schedule.__version__


@pytest.mark.parametrize("name", list(schedule.SOLVERS))
def test_solver_has_a_page(name):
    """A page each, headed by the solver's name."""
    page = ROOT / "docs" / "solvers" / f"{name}.md"
    assert page.read_text("utf-8").startswith(f"# `{name}`")


@pytest.mark.parametrize("name", sorted(commands.commands))
def test_command_is_documented(name):
    """The page on the command line shows every command with all its own options."""
    text = (ROOT / "docs" / "command-line.md").read_text("utf-8")
    assert f"## `schedule {name}`" in text
    for parameter in commands.commands[name].params:
        if parameter.param_type_name == "option":
            assert f"`{parameter.opts[-1]}" in text
