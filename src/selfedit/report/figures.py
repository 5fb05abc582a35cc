"""The plots of a report as plotly figures in plain JSON. Colours are names (`$accent`) that the page replaces by those of light or dark.

Titles of documents are untrusted: plotly reads markup in labels, so they are escaped here as they are in the page.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from itertools import cycle
from typing import Any

from selfedit.report.analysis import SHARES, Analysis, Column, Tested
from selfedit.report.comparison import Difference, Document
from selfedit.report.edits import Edits, Round
from selfedit.report.findings import PROPERTIES
from selfedit.report.reliability import PrefilterTrust, RewardTrust
from selfedit.report.rows import Row
from selfedit.report.words import short, signed
from selfedit.types import Candidate, Interval, Task

Figure = dict[str, Any]

LABELLED = 40
"""Documents that still get their name at an axis."""


def rows(rows: Sequence[Row], final: str | None) -> Figure:
    """Of each row the share of right answers, and below it the F1, %, with their 95 % intervals."""
    filled = ["$accent" if row.name == final else "$muted" for row in rows]
    labels = [row.label for row in rows]
    correct = _intervals(labels, [row.accuracy for row in rows], "correct", -0.12) | {
        "marker": {"size": 12, "symbol": "circle", "color": filled},
        "hovertemplate": "%{text}: %{x:.1f} % of %{customdata} right<extra></extra>",
    }
    f1 = _intervals(labels, [row.f1 for row in rows], "F1", 0.12) | {
        "marker": {"size": 10, "symbol": "diamond", "color": filled},
        "hovertemplate": "%{text}: %{x:.1f} % by F1<extra></extra>",
    }
    x = {"title": {"text": "of held-out questions, %"}, "rangemode": "tozero"}
    return plot([correct, f1], 90 + 48 * len(rows), x=x, y=_rows(labels, 36), legend=True)


def gains(gains: Sequence[Difference]) -> Figure:
    """What one row has over each other, percentage points of right answers and by F1, with 95 % intervals; full marks are told from zero."""
    labels = [difference.over.label for difference in gains]
    traces = []
    for name, place, size, symbol, found in (
        ("correct", -0.12, 12, "circle", [difference.gain.correct for difference in gains]),
        ("F1", 0.12, 10, "diamond", [difference.gain.f1 for difference in gains]),
    ):
        symbols = [symbol if interval.low > 0 or interval.high < 0 else f"{symbol}-open" for interval in found]
        traces.append(
            _intervals(labels, found, name, place)
            | {
                "marker": {"size": size, "color": "$accent", "symbol": symbols},
                "hovertemplate": f"%{{text}}: %{{x:+.1f}} points ({name}) on %{{customdata}}<extra></extra>",
            }
        )
    return plot(traces, 90 + 48 * len(gains), x={"title": {"text": "points more"}, "zeroline": True}, y=_rows(labels, 36), legend=True)


def _intervals(labels: Sequence[str], intervals: Sequence[Interval], name: str, place: float) -> Figure:
    """Shares, %, with their intervals, a line for each label, `place` below the middle of it."""
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": [100 * i.mean for i in intervals],
        "y": [number + place for number in range(len(intervals))],
        "text": [_label(label, 50) for label in labels],
        "error_x": _bars(intervals, "$muted", 100),
        "customdata": [i.n for i in intervals],
    }


def _bars(intervals: Sequence[Interval], colour: str, scale: int = 1) -> Figure:
    """The intervals around their means, times `scale`; one that is not known has no length."""
    ends = [(i.low, i.high) if math.isfinite(i.low) else (i.mean, i.mean) for i in intervals]
    return {
        "type": "data",
        "array": [scale * (high - i.mean) for i, (_, high) in zip(intervals, ends, strict=True)],
        "arrayminus": [scale * (i.mean - low) for i, (low, _) in zip(intervals, ends, strict=True)],
        "color": colour,
        "thickness": 1.5,
        "width": 5,
    }


def rewards(edits: Edits) -> Figure:
    """Reward of each scored candidate by task, a line for each task; a full dot was kept."""
    rounds = [one.round for one in edits.rounds]
    traces = [_rewards_of_round(edits, number, place, len(rounds)) for place, number in enumerate(rounds)]
    x = {"title": {"text": f"reward ({escape(edits.reward_kind)})"}, "zeroline": True}
    return plot(traces, _rows_px(len(edits.by_task)), x=x, y=_rows([task.title for task, _ in edits.by_task]), legend=len(rounds) > 1)


def _rewards_of_round(edits: Edits, number: int, place: int, rounds: int) -> Figure:
    dots = [
        (position, task, candidate)
        for position, (task, group) in enumerate(edits.by_task)
        for candidate in group
        if candidate.proposal.round == number and candidate.reward.value is not None and math.isfinite(candidate.reward.value)
    ]
    colour = "$accent" if place == rounds - 1 else "$second" if place == rounds - 2 else "$muted"
    return {
        "type": "scatter",
        "mode": "markers",
        "name": f"round {number + 1}",
        "x": [candidate.reward.value for _, _, candidate in dots],
        "y": [position + 0.5 * ((place + 0.5) / rounds - 0.5) for position, _, _ in dots],
        "text": [_hover(task, candidate) for _, task, candidate in dots],
        "marker": {
            "size": 10,
            "symbol": ["circle" if candidate.proposal.key in edits.kept else "circle-open" for _, _, candidate in dots],
            "color": colour,
            "line": {"width": 1.6, "color": colour},
        },
        "hovertemplate": "%{text}<extra></extra>",
    }


def _hover(task: Task, candidate: Candidate) -> str:
    proposal = candidate.proposal
    place = f"round {proposal.round + 1}, self-edit {proposal.index + 1} ({escape(proposal.edit.strategy)})"
    return f"{_label(task.title, 50)}<br>{place}<br>reward {signed(candidate.reward.value)}"


def rounds(rounds: Sequence[Round]) -> Figure:
    """Mean reward, and mean of the best of each task, by round, with 95 % intervals."""
    traces = []
    for name, colour, values in (
        ("best of each document", "$accent", [one.best for one in rounds]),
        ("all self-edits", "$second", [one.mean for one in rounds]),
    ):
        found = [(one.round + 1, interval) for one, interval in zip(rounds, values, strict=True) if interval and math.isfinite(interval.low)]
        traces.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": name,
                "x": [number for number, _ in found],
                "y": [interval.mean for _, interval in found],
                "error_y": _bars([interval for _, interval in found], colour),
                "line": {"color": colour, "width": 2},
                "marker": {"size": 10, "color": colour},
                "hovertemplate": "round %{x}: %{y:.3f}<extra>%{fullData.name}</extra>",
            }
        )
    x = {"title": {"text": "round"}, "tickvals": [one.round + 1 for one in rounds], "showgrid": False}
    return plot(traces, 320, x=x, y={"title": {"text": "reward"}}, legend=True)


COLOURS = ("$muted", "$accent", "$second")


def reliability(rewards: Sequence[RewardTrust], target: float) -> Figure:
    """Reliability of the mean of k seeds for each reward, and the line that is asked for."""
    traces: list[Figure] = [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": escape(reward.name),
            "x": list(range(1, len(reward.curve) + 1)),
            "y": reward.curve,
            "line": {"color": colour, "width": 2},
            "marker": {"size": 8, "color": colour},
            "hovertemplate": "%{x} seeds: %{y:.2f}<extra>%{fullData.name}</extra>",
        }
        for reward, colour in zip(rewards, cycle(COLOURS))
    ]
    most = max(len(reward.curve) for reward in rewards)
    line = {"color": "$muted", "dash": "dot", "width": 1.5}
    traces.append({"type": "scatter", "mode": "lines", "x": [1, most], "y": [target, target], "line": line, "showlegend": False, "hoverinfo": "skip"})
    x = {"title": {"text": "seeds"}, "dtick": 1, "showgrid": False}
    return plot(traces, 340, x=x, y={"title": {"text": "reliability"}, "range": [0, 1.02]}, legend=True)


def prefilters(prefilters: Sequence[PrefilterTrust]) -> Figure:
    """Share of groups that keep their winner, %, by the share of CPU time saved, %: a point for each number of survivors."""
    symbols = ("circle-open", "circle", "square", "diamond", "triangle-up")
    traces: list[Figure] = [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": prefilter.label,
            "x": [100 * saved for saved in prefilter.saved if saved is not None],
            "y": [100 * survivors.same_winner.mean for survivors in prefilter.found.survivors],
            "text": [f"{survivors.keep} left" for survivors in prefilter.found.survivors],
            "line": {"width": 1.5, "color": colour},
            "marker": {"size": 10, "symbol": symbol, "color": colour},
            "hovertemplate": "%{text}: %{y:.0f} % keep the winner, %{x:.0f} % saved<extra>%{fullData.name}</extra>",
        }
        for prefilter, colour, symbol in zip(prefilters, cycle(COLOURS), cycle(symbols))
        if prefilter.alone is not None
    ]
    return plot(traces, 360, x={"title": {"text": "CPU time saved, %"}}, y={"title": {"text": "same winner, %"}, "range": [0, 103]}, legend=True)


def properties(found: Analysis) -> dict[str, Figure]:
    """A small figure of each property that was measured of more than one policy: means over documents with their intervals."""
    views = [(name, view, colour) for name, view, colour in (("training", found.rounds, "$second"), ("held-out", found.held_out, "$accent")) if view]
    ticks = list(dict.fromkeys(column.tick for _, view, _ in reversed(views) for column in view.columns))
    drawn = {}
    for name in dict.fromkeys(name for _, view, _ in views for name in view.known):
        traces = [_property([column for column in view.columns if column.values[name]], name, label, colour) for label, view, colour in views]
        x = {
            "type": "category",
            "categoryorder": "array",
            "categoryarray": ticks,
            "range": [-0.4, len(ticks) - 0.6],
            "showgrid": False,
            "tickangle": 0,
        }
        if len({tick for trace in traces for tick in trace["x"]}) > 1:
            drawn[f"property-{name}"] = plot(traces, 190, x=x, y={"nticks": 5, **({"ticksuffix": " %"} if name in SHARES else {})})
    return drawn


def _property(columns: Sequence[Column], name: str, label: str, colour: str) -> Figure:
    scale = 100 if name in SHARES else 1
    known = [interval for column in columns if (interval := column.values[name])]
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": label,
        "x": [column.tick for column in columns],
        "y": [scale * i.mean for i in known],
        "error_y": _bars(known, colour, scale) | {"thickness": 1.2, "width": 3},
        "line": {"color": colour, "width": 2},
        "marker": {"size": 8, "color": colour},
        "hovertemplate": "%{x}: %{y:.4g}<extra>%{fullData.name}</extra>",
    }


def with_reward(rewards: Mapping[str, Tested]) -> Figure:
    """Mean rank correlation of each property with the reward, with its 95 % interval; full dots are told from zero."""
    dots = {
        "type": "scatter",
        "mode": "markers",
        "x": [told.interval.mean for told in rewards.values()],
        "y": [PROPERTIES[name].label for name in rewards],
        "error_x": _bars([told.interval for told in rewards.values()], "$muted"),
        "customdata": [told.interval.n for told in rewards.values()],
        "marker": {"size": 12, "color": "$accent", "symbol": ["circle" if told.significant else "circle-open" for told in rewards.values()]},
        "hovertemplate": "%{y}: %{x:+.2f} in %{customdata} groups<extra></extra>",
    }
    x = {"title": {"text": "rank correlation with the reward"}, "range": [-1.05, 1.05], "zeroline": True}
    return plot([dots], 80 + 30 * len(rewards), x=x, y={"autorange": "reversed", "showgrid": False})


def documents(documents: Sequence[Document]) -> Figure:
    """Each document's accuracy before and after, %, joined by a line."""
    both = [document for document in documents if document.before is not None and document.after is not None]
    places = list(range(len(both)))
    before = [100 * (document.before or 0.0) for document in both]
    after = [100 * (document.after or 0.0) for document in both]
    line: dict[str, list[Any]] = {"x": [], "y": []}
    for place, low, high in zip(places, before, after, strict=True):
        line["x"] += [low, high, None]
        line["y"] += [place, place, None]
    titles = [_label(document.title, 50) for document in both]
    dots = [("before", before, "circle-open", "$muted", 10), ("after", after, "circle", "$accent", 11)]
    traces: list[Figure] = [
        {"type": "scatter", "mode": "lines", **line, "line": {"color": "$line", "width": 3}, "hoverinfo": "skip", "showlegend": False}
    ]
    traces += [
        {
            "type": "scatter",
            "mode": "markers",
            "name": name,
            "x": values,
            "y": places,
            "text": titles,
            "marker": {"size": size, "symbol": symbol, "color": colour, "line": {"width": 2, "color": colour}},
            "hovertemplate": f"%{{text}}<br>{name}: %{{x:.0f}} %<extra></extra>",
        }
        for name, values, symbol, colour, size in dots
    ]
    x = {"title": {"text": "correct, %"}, "range": [-3, 103]}
    return plot(traces, _rows_px(len(both)), x=x, y=_rows([document.title for document in both]), legend=True)


def _rows(titles: Sequence[str], length: int = 28) -> Figure:
    """An axis with a line for each title, the first on top."""
    ticks = {"tickvals": list(range(len(titles))), "ticktext": [_label(title, length) for title in titles]}
    return {
        "range": [len(titles) - 0.4, -0.6],
        "showgrid": len(titles) <= LABELLED,
        **(ticks if len(titles) <= LABELLED else {"showticklabels": False}),
    }


def _rows_px(rows: int) -> int:
    return 100 + 32 * min(rows, LABELLED)


def _label(text: str, length: int) -> str:
    return escape(short(text, length), quote=False)


def plot(data: list[Figure], height_px: int, *, x: Figure, y: Figure, legend: bool = False) -> Figure:
    """Traces as a figure: `x` and `y` are the axes."""
    for side in (x, y):
        if "title" in side:
            side["title"] |= {"font": {"size": 13}, "standoff": 8}
    axis = {"gridcolor": "$line", "zeroline": False, "zerolinecolor": "$muted", "linecolor": "$line", "automargin": True, "fixedrange": True}
    layout = {
        "height": height_px,
        "margin": {"l": 10, "r": 16, "t": 34 if legend else 8, "b": 10},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "system-ui, sans-serif", "size": 13, "color": "$ink"},
        "hoverlabel": {"bgcolor": "$card", "bordercolor": "$line", "font": {"color": "$ink"}, "align": "left"},
        "xaxis": {**axis, **x},
        "yaxis": {**axis, **y},
        "showlegend": legend,
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
    }
    return {"data": data, "layout": layout}
