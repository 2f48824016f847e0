"""Workflows of scientists: tasks that write files for other tasks."""

from __future__ import annotations

from math import isqrt

from schedule.builder import GraphBuilder
from schedule.graph import Graph

#: Kilobytes of files, and milliseconds of tasks for each thing that they read.
_RAW, _PROJECTED, _FIT, _TABLE, _MOSAIC, _PICTURE = 1_500, 4_150, 1, 3, 260, 26
_PROJECT, _DIFFERENCE, _CONCAT, _MODEL, _BACKGROUND, _LIST, _ADD, _VIEW = (
    17_000, 250, 30, 800, 400, 40, 45, 95,
)  # fmt: skip


def montage(images: int = 4, bands: int = 3) -> Graph:
    """A mosaic of the sky from overlapping images in some bands: memory is files on a disk.

    For each band, images are projected, neighbours compared, their backgrounds
    matched and the results added; at last the bands are shown in colour. Each projected
    image is two files, itself and the area that its pixels cover. Sizes in kilobytes,
    computes in milliseconds.

    Parameters
    ----------
    images
        Of each band; they lie in a square, as far as they fill one.
    bands
        How many.

    Notes
    -----
    O(bands · images). Tasks, files and about their sizes and times are those of the
    Montage toolkit (Jacob et al. 2009, doi:10.1504/IJCSE.2009.026999) as workflow
    systems describe it (Juve et al. 2013, doi:10.1016/j.future.2012.08.015); with 4 images
    in 3 bands there are 58 tasks, as in half a square degree of the 2MASS survey.
    """
    g = GraphBuilder("montage")
    raws = [
        [g.input(f"raw{band}.{i}", _RAW + 10 * i, freeable=True) for i in range(images)]
        for band in range(bands)
    ]
    mosaics = [_band(g, band, raw) for band, raw in enumerate(raws)]
    pictures = [
        g.node(f"view{band}", mosaic, memory=_PICTURE, compute=_VIEW)
        for band, mosaic in enumerate(mosaics)
    ]
    colour = g.node("colour", mosaics, memory=3 * _PICTURE, compute=2 * _VIEW)
    return g.build([*pictures, colour])


def _band(g: GraphBuilder, band: int, raw: list[str]) -> str:
    """All tasks of a band; the name of its mosaic."""
    columns = isqrt(len(raw) - 1) + 1
    places = [divmod(i, columns) for i in range(len(raw))]
    projected = [
        g.node(
            f"project{band}.{i}",
            name,
            memory=(_PROJECTED + 10 * i, _PROJECTED + 10 * i),
            compute=_PROJECT + 100 * i,
        )
        for i, name in enumerate(raw)
    ]
    fits = [
        g.node(
            f"fit{band}.{i}.{j}", [*projected[i], *projected[j]], memory=_FIT, compute=_DIFFERENCE
        )
        for i, (row, column) in enumerate(places)
        for j, (other, beside) in enumerate(places[:i])
        if abs(row - other) <= 1 and abs(column - beside) <= 1
    ]
    table = g.node(f"concat{band}", fits, memory=_TABLE, compute=_CONCAT * max(len(fits), 1))
    model = g.node(f"model{band}", table, memory=_FIT, compute=_MODEL)
    matched = [
        g.node(
            f"background{band}.{i}",
            [*files, model],
            memory=(_PROJECTED + 10 * i, _PROJECTED + 10 * i),
            compute=_BACKGROUND,
        )
        for i, files in enumerate(projected)
    ]
    everything = [name for files in matched for name in files]
    listed = g.node(f"list{band}", everything, memory=_TABLE, compute=_LIST * len(raw))
    mosaic, _ = g.node(
        f"add{band}", [*everything, listed], memory=(_MOSAIC, _MOSAIC), compute=_ADD * len(raw)
    )
    return str(mosaic)
