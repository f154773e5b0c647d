"""Draws a set of runs: accuracy over lags, and beside it the gradient over distance. Needs no torch."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from longlag.report import panels
from longlag.report.groups import Group
from longlag.report.plot import Picture, plot

BELOW = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.14), "ncols": 2}  # the legend


def gap(groups: Sequence[Group]) -> Figure:
    """Draw a row of two panels for each task: `headline` and `gradient` of `panels.py`.

    Raises ValueError if no run has finished.
    """
    finished = [group for group in groups if group.finished]
    if not finished:
        raise ValueError("there is nothing to draw: none of the runs finished")
    style = panels.styles(finished)
    tasks = sorted({group.task for group in finished})
    figure = Picture(figsize=(11, 4.4 * len(tasks)), layout="constrained")
    for task, (left, right) in zip(tasks, figure.subplots(len(tasks), 2, squeeze=False), strict=True):
        ours = [group for group in finished if group.task == task]
        plot(left, panels.headline(ours, style), **BELOW)
        plot(right, panels.gradient(ours, style), **BELOW)
        left.set_title(task, loc="left", fontsize=11)
    return figure
