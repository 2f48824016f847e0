"""The logger `schedule`: silent until asked, by the standard library's means."""

import logging
import subprocess
import sys

import schedule


def test_nothing_is_said_unless_asked():
    """Not even by logging's last resort."""
    code = "import schedule; schedule.solve(schedule.example('unet'), '60%', time_limit=0.5)"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("", "")


def test_info_says_what_is_asked_and_what_comes_of_it(caplog):
    """Two lines for each solve; the figures are the result's."""
    graph = schedule.example("chain")
    with caplog.at_level(logging.INFO, logger="schedule"):
        result = schedule.solve(graph, "50%", "chain")
    asked, told = (record.getMessage() for record in caplog.records)
    assert asked == f"solving 'chain': {len(graph)} nodes, budget {result.budget}, by chain"
    assert told == f"solved 'chain': {result}"


def test_debug_says_who_finds_what(caplog):
    """Every better schedule and bound, by name; the last of each is the result's."""
    with caplog.at_level(logging.DEBUG, logger="schedule"):
        result = schedule.solve(schedule.example("unet"), "70%", workers=1, time_limit=3)
    lines = [record.getMessage() for record in caplog.records]
    best = [line for line in lines if ": takes " in line and ", peak " in line][-1]
    assert best == f"{result.found_by}: takes {result.compute}, peak {result.peak}"
    assert any(line.startswith("auto: asking ilp") for line in lines)
    assert {record.name for record in caplog.records} == {"schedule"}
