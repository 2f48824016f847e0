"""Measurements kept on disk: from one process to the next, whole, or not at all."""

from __future__ import annotations

import json
import warnings

import pytest

torch = pytest.importorskip("torch")

import schedule.torch  # noqa: E402 - after the check that it is there
from schedule.errors import BadOption, CacheLeftAside  # noqa: E402
from schedule.torch import kept, measuring  # noqa: E402
from tests.formats import FILES_ARE_CHECKED  # noqa: E402
from tests.torch.test_measuring import Stub, doubled, words  # noqa: E402

pytestmark = FILES_ARE_CHECKED


@pytest.fixture
def folder(tmp_path):
    """Where they are kept."""
    made = tmp_path / "measured"
    schedule.torch.keep_measurements(made)
    return made


@pytest.fixture
def process(monkeypatch):
    """Begins a process that knows nothing yet: how many operators it measures, and its graph."""

    def begin(**given):
        stub = Stub(kept=77)
        monkeypatch.setattr(measuring, "gauge_of", lambda device, times, memory: stub)
        monkeypatch.setattr(measuring, "_KNOWN", {})
        model, batch = words()
        options = {"costs": "measure", "workspace": "measure"} | given
        graph = schedule.torch.capture(model, batch, **options)
        return stub.n, graph

    return begin


def test_what_was_measured_is_not_measured_again(folder, process):
    """In another process, which has the same graph."""
    (first, graph), (second, same) = process(), process()
    assert first > 10
    assert second == 0
    assert graph == same
    assert len(list(folder.iterdir())) == 1


def test_nothing_is_kept_where_that_is_said(folder, process):
    schedule.torch.keep_measurements(False)
    assert process()[0] == process()[0] > 0
    assert not folder.exists()


def test_other_settings_and_other_questions_are_measured_by_themselves(folder, process):
    """Deterministic algorithms, times alone."""
    process()
    assert process(workspace="none")[0] > 10
    torch.use_deterministic_algorithms(mode=True)
    try:
        assert process()[0] > 10
    finally:
        torch.use_deterministic_algorithms(mode=False)
    assert len(list(folder.iterdir())) == 3


def cut(text):
    return text[: len(text) // 2]


def changed(text):
    data = json.loads(text)
    data["found"][0][1] += 1
    return json.dumps(data)


@pytest.mark.parametrize("spoil", [cut, changed, lambda text: "", lambda text: "[]"])
def test_a_spoilt_file_counts_as_nothing_and_is_replaced(folder, process, spoil):
    process()
    (file,) = folder.iterdir()
    before = file.read_text()
    file.write_text(spoil(before))
    assert process()[0] > 10
    assert file.read_text() == before


def test_what_is_kept_grows_by_what_others_measure(folder, process):
    """A second model's operators come beside those of the first."""
    process()
    (file,) = folder.iterdir()
    n = len(json.loads(file.read_text())["found"])
    schedule.torch.capture(
        torch.nn.Linear(3, 3),
        torch.ones(2, 3),
        loss=lambda output: output.exp().sum(),
        costs="measure",
        workspace="measure",
    )
    assert len(json.loads(file.read_text())["found"]) > n
    assert process()[0] == 0


def test_operators_of_others_are_not_kept(folder, monkeypatch):
    """As nobody knows their versions here."""
    loss = lambda output: doubled(output).sum()  # noqa: E731 - a line
    found = []
    for _ in range(2):
        stub = Stub()
        monkeypatch.setattr(measuring, "gauge_of", lambda device, times, memory, made=stub: made)
        monkeypatch.setattr(measuring, "_KNOWN", {})
        given = {"loss": loss, "costs": "measure", "pure": ["measuring::doubled"]}
        schedule.torch.capture(torch.nn.Linear(3, 3), torch.ones(2, 3), **given)
        found.append(stub.n)
    assert found[0] > found[1] == 1


def test_where_nothing_can_be_written_it_is_said_once(tmp_path, process, monkeypatch):
    """And the plan goes on, where warnings are errors, too."""
    (tmp_path / "file").write_text("")
    schedule.torch.keep_measurements(tmp_path / "file" / "below")
    with pytest.warns(CacheLeftAside, match="measured costs can't be kept in"):
        assert process()[0] > 10
    kept._said.release()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert process()[0] > 10
    kept._said.release()


@pytest.mark.parametrize("where", [None, 3, 1.5])
def test_a_place_is_a_directory_or_yes_or_no(where):
    with pytest.raises(BadOption, match="it is a directory, True or False"):
        schedule.torch.keep_measurements(where)


def test_by_default_it_is_beside_what_torch_downloads(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    schedule.torch.keep_measurements(True)
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    assert kept.Kept(torch.device("cpu"), "")._path.parent == tmp_path / "hub" / "graph-schedule"
