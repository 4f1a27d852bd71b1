"""One page of results, which needs nothing else: plots, and under each its numbers; all text in it may be from anybody."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nnaccel.bench.measured import Measured, case_shape, machine_label, measured
from nnaccel.bench.picture import STYLE, Point, bars, count_text, curves, shown, time_text
from nnaccel.bench.reading import ESTIMATES_FORMAT
from nnaccel.bench.scaling import FORMAT as SCALING_FORMAT
from nnaccel.bench.schema import FORMAT
from nnaccel.errors import counted

_STYLE = (
    ":root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:42rem;margin:0 auto;padding:1rem}"
    "h1{font-size:1.5rem}h2{font-size:1.2rem;margin-top:2rem}h3{font-size:1rem}"
    "table{border-collapse:collapse;font-size:.85rem}td,th{padding:.2rem .6rem;text-align:right;white-space:nowrap}"
    "td:first-child,th:first-child{text-align:left;white-space:normal}th{border-bottom:1px solid}caption{text-align:left}"
    ".wide{overflow-x:auto}summary{cursor:pointer}li{overflow-wrap:anywhere}"
)

Cells = Sequence[str]


def page(results: Sequence[Mapping[str, Any]]) -> str:
    """The page as HTML.

    Parameters
    ----------
    results : sequence of mapping
        Of any format in `reading.KINDS`, and valid by its schema.
    """
    by_format: dict[str, list[Mapping[str, Any]]] = {}
    for result in results:
        by_format.setdefault(result.get("format", ESTIMATES_FORMAT), []).append(result)
    suites = by_format.get(FORMAT, [])
    sections = [
        *_machines([*suites, *by_format.get(SCALING_FORMAT, [])]),
        *(part for suite in suites for part in _suite(suite)),
        *_side_by_side(suites),
        *_scaling(by_format.get(SCALING_FORMAT, [])),
        *(part for each in by_format.get(ESTIMATES_FORMAT, []) for part in _estimates(each)),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>How long training takes</title><style>{_STYLE}{STYLE}</style></head>\n"
        f"<body><main><h1>How long training takes</h1>\n" + "\n".join(sections) + "\n</main></body></html>\n"
    )


def _machines(results: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What was measured, where, and who couldn't take part."""
    yield "<ul>"
    for result in results:
        words = [
            machine_label(result["machine"]),
            f"nnaccel {result['versions'].get('nnaccel', 'unknown')}",
            result["date"],
        ]
        words += [] if result.get("finished", True) else ["incomplete: it was interrupted"]
        words += [f"{each['name']} left out: {each['reason']}" for each in result.get("unavailable", ())]
        yield f"<li>{'; '.join(shown(word, 200) for word in words)}</li>"
    yield "</ul>"


def _suite(suite: Mapping[str, Any]) -> Iterator[str]:
    """The times of one machine: an epoch of each case, and until the goal is reached."""
    label, found = machine_label(suite["machine"]), measured(suite)
    cases, goals = [each for each in found if not each.goal], [each for each in found if each.goal]
    if cases:
        title = f"Time per epoch on {label}"
        rows = {f"{each.label}: {case_shape(each.definition)}": _medians(each) for each in cases}
        yield from _figure(title, bars(title, rows), _times_table(cases))
    for each in goals:
        title = f"Until {each.definition['metric']} {each.definition['score']:g} on rows held out, on {label}"
        rows = {f"{each.definition['data']}: {case_shape(each.definition)}": _medians(each)}
        yield from _figure(title, bars(title, rows), _goal_table(suite["goal"], each))


def _medians(case: Measured) -> dict[str, float]:
    return {name: series.median for name, series in case.series.items()}


def _times_table(cases: Sequence[Measured]) -> str:
    names = list(dict.fromkeys(name for case in cases for name in case.series))
    rows = []
    for case in cases:
        cells = [case.label]
        for name in names:
            series = case.series.get(name)
            cells += ["", ""] if series is None else [time_text(series.median), f"{series.rows / series.median:,.0f}"]
        rows.append(cells)
    return _table(["case", *(head for name in names for head in (name, "rows a second"))], rows)


def _goal_table(goal: Mapping[str, Any], case: Measured) -> str:
    rows = []
    for entry in goal["contenders"]:
        series = case.series.get(entry["name"])
        seconds = entry["reason"] if series is None else time_text(series.median)
        rate = "" if series is None else f"{series.rows / series.median:,.0f}"
        score = "" if entry["score"] is None else f"{entry['score']:.4g}"
        rows.append([entry["name"], seconds, f"{entry['epochs']:,}", score, rate])
    return _table(["backend", "time", "epochs", goal["metric"], "rows a second"], rows)


def _side_by_side(suites: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A plot for each contender that was timed in several results."""
    if len(suites) < 2:
        return
    named = {f"{number}: {machine_label(suite['machine'])}": measured(suite) for number, suite in enumerate(suites, 1)}
    for contender in dict.fromkeys(name for cases in named.values() for case in cases for name in case.series):
        rows: dict[str, dict[str, float]] = {}
        for machine, cases in named.items():
            for case in cases:
                if contender in case.series:
                    rows.setdefault(case.label, {})[machine] = case.series[contender].median
        rows = {label: row for label, row in rows.items() if len(row) > 1}
        if rows:
            title = f"Machines side by side: {contender}"
            table = [
                [label, *(time_text(row[name]) if name in row else "" for name in named)] for label, row in rows.items()
            ]
            yield from _figure(title, bars(title, rows), _table(["case", *named], table))


def _scaling(results: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The cost by each size that was changed: of an epoch over rows, of a row over all else."""
    sweeps = dict.fromkeys(point["sweep"] for result in results for point in result["points"])
    for sweep in sorted(sweeps, key=("rows", "width").__contains__, reverse=True):
        series, table = {}, []
        for number, result in enumerate(results, 1):
            points = [point for point in result["points"] if point["sweep"] == sweep]
            name = f"{number}: {result['backend']}, {machine_label(result['machine'])}"
            cost = [point["seconds_per_row"] * (point["rows"] if sweep == "rows" else 1) for point in points]
            series[name] = [Point(point["value"], y) for point, y in zip(points, cost, strict=True)]
            table += [[name, f"{point['value']:,}", time_text(y)] for point, y in zip(points, cost, strict=True)]
        what = "an epoch" if sweep == "rows" else "a row"
        title = f"Cost of {what} over {sweep}"
        shape = {name: points for name, points in series.items() if points}
        plot = curves(title, shape, (sweep, f"time of {what}"), (count_text, time_text))
        yield from _figure(title, plot, _table(["", sweep, f"time of {what}"], table))


def _estimates(result: Mapping[str, Any]) -> Iterator[str]:
    """Predicted against actual, and how often the interval was right."""
    found = result["configurations"]
    if not found:
        return
    heads = ["", "rows", "predicted", "from", "to", "actual", "error"]
    times = ("predicted_s", "low_s", "high_s", "actual_s")
    rows = [
        (
            f"{each['backend']}, {each['dtype']}",
            f"{each['rows']:,}",
            *(time_text(each[name]) for name in times),
            f"{each['predicted_s'] / each['actual_s'] - 1:+.1%}",
        )
        for each in found
    ]
    plot = estimates_plot(found) + f"<p>{shown(estimates_sentence(found), 200)}</p>"
    yield from _figure(ESTIMATES_TITLE, plot, _table(heads, rows))


ESTIMATES_TITLE = "Predicted against actual time of a training"


def estimates_plot(trainings: Sequence[Mapping[str, Any]]) -> str:
    """Each training as a point, beside the diagonal on which the prediction is right.

    Parameters
    ----------
    trainings : sequence of mapping
        The configurations of a result of `nnaccel bench --estimates`; at least one.
    """
    series: dict[str, list[Point]] = {}
    for each in trainings:
        point = Point(each["actual_s"], each["predicted_s"], each["low_s"], each["high_s"])
        series.setdefault(f"{each['backend']}, {each['dtype']}", []).append(point)
    return curves(ESTIMATES_TITLE, series, ("actual", "predicted"), (time_text, time_text), diagonal=True)


def estimates_sentence(trainings: Sequence[Mapping[str, Any]]) -> str:
    """How good the predictions are, in one sentence.

    Examples
    --------
    >>> estimates_sentence([{"predicted_s": 1.1, "low_s": 0.9, "high_s": 1.2, "actual_s": 1.0}])
    '1 training: median error 10.0%, 100% within the interval.'
    """
    # Each was trained once, or twice.
    runs = [[each["actual_s"], each.get("again_s", each["actual_s"])] for each in trainings]
    errors = [abs(each["predicted_s"] / statistics.fmean(two) - 1) for each, two in zip(trainings, runs, strict=True)]
    inside = statistics.fmean(
        each["low_s"] <= one <= each["high_s"] for each, two in zip(trainings, runs, strict=True) for one in two
    )
    return f"{counted(len(trainings), 'training')}: median error {statistics.median(errors):.1%}, {inside:.0%} within the interval."


def _figure(title: str, plot: str, table: str) -> Iterator[str]:
    yield f"<section><h2>{shown(title, 120)}</h2>{plot}"
    yield f"<details><summary>The numbers</summary>{table}</details></section>"


def _table(heads: Cells, rows: Sequence[Cells]) -> str:
    head = "".join(f'<th scope="col">{shown(cell)}</th>' for cell in heads)
    body = "".join("<tr>" + "".join(f"<td>{shown(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
