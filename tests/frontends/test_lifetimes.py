"""CSVs of lifetimes: read as minimalloc writes them, refused by line."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

import schedule
from schedule.errors import BadGraph, BadOption, BadOutput
from schedule.lifetimes import Lifetimes
from tests.formats import FILES_ARE_CHECKED

pytestmark = FILES_ARE_CHECKED

GOOD = "id,lower,upper,size\nb1,0,3,4\nb2,3,9,4\nb3,0,9,4\nb4,9,21,4\nb5,0,21,4\n"


def test_example_of_minimalloc(tmp_path):
    """The example of its README packs within 12; written, it has offsets and is read again."""
    (tmp_path / "input.csv.gz").write_bytes(gzip.compress(GOOD.encode()))
    found = schedule.read_lifetimes(tmp_path / "input.csv.gz")
    arena = schedule.place(found, capacity=12)
    assert (arena.status, arena.size) == ("optimal", 12)
    arena.save(tmp_path / "out.csv")
    lines = (tmp_path / "out.csv").read_text().splitlines()
    assert lines[0] == "id,lower,upper,size,offset"
    assert [line.rpartition(",")[0] for line in lines[1:]] == GOOD.splitlines()[1:]
    again = schedule.read_lifetimes(tmp_path / "out.csv")
    assert (again.names, again.load) == (found.names, 12)
    assert schedule.place(again).offsets.tolist() == arena.offsets.tolist()


def test_any_id_of_a_file_can_be_written(tmp_path):
    """Quoted as CSV does, ids are the same when read again; one that isn't is refused."""
    names = ("a,b", 'say "c"', "two\nlines", "two\r\nmore", "", "plain")
    given = Lifetimes(names, *np.array([[0] * 6, [1] * 6, [4] * 6]))
    arena = schedule.place(given)
    arena.save(tmp_path / "out.csv")
    again = schedule.read_lifetimes(tmp_path / "out.csv")
    assert again.names == names
    assert again.fixed.tolist() == arena.offsets.tolist()
    blank = schedule.place(Lifetimes((" a",), *np.array([[0], [1], [4]])))
    with pytest.raises(BadOutput, match="' a' begins or ends in a blank"):
        blank.save(tmp_path / "blank.csv")


def test_offsets_in_a_file_are_kept(tmp_path):
    """Buffers that have one lie there, the others around them; overlapping ones are refused."""
    path, head = tmp_path / "some.csv", "id,lower,upper,size,offset\n"
    path.write_text(head + "a,0,4,2,4\nb,0,2,3,\nc,2,4,1,\n")
    found = schedule.read_lifetimes(path)
    arena = schedule.place(found)
    assert (arena.offsets[0], arena.size, arena.status) == (4, 6, "optimal")
    assert schedule.place(found, preplaced={"a": 8}).offsets[0] == 8
    with pytest.raises(BadOption, match="multiple of 8"):
        schedule.place(found, alignment=8)
    path.write_text(head + "a,0,4,2,4\nb,0,2,3,2\n")
    with pytest.raises(BadOption, match=r"preplaced: 'a' .* overlap at time 0"):
        schedule.place(schedule.read_lifetimes(path))


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_may_end_as_on_any_system(tmp_path, end):
    """A table means the same whichever system wrote it; lines within quotes are kept."""
    path, text = tmp_path / "some.csv", GOOD + '"b\n6",0,2,1\n'
    path.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", end).encode())
    found = schedule.read_lifetimes(path)
    assert found.names == ("b1", "b2", "b3", "b4", "b5", f"b{end}6")
    assert [column.tolist() for column in found.columns] == [
        [0, 3, 0, 9, 0, 0],
        [3, 9, 9, 21, 21, 2],
        [4, 4, 4, 4, 4, 1],
    ]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"size": [-3, 4]}, "'a' has a negative size"),
        ({"size": [2**60, 2**60]}, r"below 2\*\*61"),
        ({"size": [3.5, 4]}, "size of lifetimes has to be of signed integers, not float64"),
        ({"size": [[3], [4, 5]]}, "size of lifetimes: "),
        ({"size": [3]}, r"size of 2 lifetimes has the shape \(1,\)"),
        ({"upper": [2, 0]}, "'b' has no time"),
        ({"lower": [-(2**62), 0]}, r"'a' has times beyond ±2\*\*53"),
        ({"fixed": [-2, 0]}, r"'a' has an offset out of 0 … 2\*\*61 − 1"),
        ({"names": (1, "b")}, "names of buffers are strings, not 1"),
    ],
)
def test_wrong_lifetimes_are_refused_when_made(columns, message):
    """What Python makes is held to the same rules as a file: a wrong size is no packing later."""
    right = {"names": ["a", "b"], "lower": [0, 0], "upper": [2, 2], "size": [3, 4]}
    assert schedule.place(Lifetimes(**right)).size == 7
    with pytest.raises(BadGraph, match=message):
        Lifetimes(**{**right, **columns})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: there is nothing"),
        ("id,lower,upper,size,size\na,0,1,2,3\n", "line 1: the head has the column 'size' 2 times"),
        ("id,lower,upper\na,0,1\n", "line 1: the head has no column 'size'"),
        (GOOD + "b6,1,2\n", "line 7: 3 values for 4 columns"),
        (GOOD + "b6,1,2,x\n", "line 7: size is 'x'"),
        (GOOD + "b6,1,2.5,1\n", "line 7: upper is '2.5'"),
        (GOOD + "b6,1,1_0,1\n", "line 7: upper is '1_0'"),
        (GOOD + "b6,1,2," + 5000 * "9" + "\n", "line 7: size is '999"),
        (GOOD + "b6,2,2,1\n", "line 7: buffer 'b6' lives from 2 until before 2: no time"),
        (GOOD + "b6,3,2,1\n", "line 7: buffer 'b6' lives from 3 until before 2: no time"),
        (GOOD + "b6,1,2,-1\n", "line 7: buffer 'b6' has the negative size -1"),
        (GOOD + "b1,1,2,1\n", "line 7: id 'b1' comes twice"),
        (GOOD + f"b6,1,2,{2**61}\n", "line 7: all sizes together"),
        (GOOD + f"b6,1,{2**60},1\n", "line 7: upper is"),
        ("id,lower,upper,size,offset\na,0,1,1,-2\n", "line 2: buffer 'a' has the offset -2"),
        ("id,lower,upper,size,offset\na,0,1,1,1.5\n", "line 2: offset is '1.5'"),
    ],
)
def test_bad_lines_are_named(text, message, tmp_path):
    """File, line and value."""
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(BadGraph, match=r"bad\.csv: ") as error:
        schedule.read_lifetimes(path)
    assert message in str(error.value)
