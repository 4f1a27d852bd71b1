"""Result files that are kept: read with suspicion, compared, and drawn on a page."""

import copy
import gzip
import json
import re
import xml.etree.ElementTree
from html.parser import HTMLParser

import numpy as np
import pytest

from nnaccel.bench import compare
from nnaccel.bench.interval import ratio_interval
from nnaccel.bench.measured import measured, same_machine
from nnaccel.bench.picture import SERIES, Point, Scale, bars, count_text, curves, standalone, time_text
from nnaccel.bench.reading import KINDS, read_result
from nnaccel.bench.report import page
from nnaccel.errors import InputError
from tests.bench_results import case, estimates, goal, scaling, suite, written

STEADY = [1.0, 1.01, 1.02, 1.03, 1.04, 1.05, 1.06]
LOOP = [9.0, 9.1, 9.2, 9.3, 9.4, 9.5, 9.6]


def times(samples, factor):
    return [factor * sample for sample in samples]


@pytest.mark.parametrize(
    "content", [suite(case({"numba": STEADY})), scaling(), estimates()], ids=["suite", "scaling", "estimates"]
)
def test_every_kind_is_read(tmp_path, content):
    assert read_result(written(tmp_path / "a.json", content), *KINDS) == content


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is empty: give a result that nnaccel bench wrote"),
        (b"[1]", "is no result of a benchmark"),
        (b"3", "is no result of a benchmark"),
        (b'{"format": ["nnaccel-bench"]}', "is no result of a benchmark"),
        (b"{", "is no JSON file, or a damaged one"),
        (b"\xff\xfe\x00\xd8", "is no JSON file, or a damaged one"),
        (b"[" * 200_000, "is nested too deeply"),
        (b'{"a":' * 200_000, "is nested too deeply"),
        (b'{"format": NaN}', "is no JSON file, or a damaged one: NaN is no number in JSON"),
        (b'{"format": -Infinity}', "-Infinity is no number in JSON"),
        (b'{"seconds": 1e999}', "the number 1e999 is too large"),
        (b'{"seconds": ' + b"1" * 6000 + b"}", "a number of 6,000 digits is too large"),
        (b"\x89PNG\r\n", "is no JSON file, or a damaged one"),
        (b'{"format": "nnaccel-scaling"}', "is a result of another kind, nnaccel-scaling: give nnaccel-bench"),
        (b'{"format": "nnaccel-bench", "version": 7}', "has version 7 of its format, where 2 is read: measure again"),
        (b'{"format": "nnaccel-bench", "version": true}', "has version true of its format"),
        (b'{"format": "nnaccel-bench", "version": 2}', "is damaged: it lacks 'finished'. Measure again."),
    ],
)  # fmt: skip
def test_what_is_no_result_gets_one_sentence(command, tmp_path, content, sentence):
    path = tmp_path / "other.json"
    path.write_bytes(content)
    code, out, err = command("bench", "--compare", path, path)
    assert (code, out) == (2, "")
    assert str(path) in err
    assert sentence in err
    assert err.count("\n") == 1
    assert len(err) < 500


def test_a_folder_and_a_bomb_get_one_sentence(command, tmp_path):
    bomb = tmp_path / "bomb.json.gz"
    with gzip.open(bomb, "wb", 1) as file:
        for _ in range(70):
            file.write(b" " * (1 << 20))
    for path, sentence in ((tmp_path, "is a folder, not a file"), (bomb, "is too large for the result of a benchmark")):
        code, _, err = command("bench", "--report", tmp_path / "r.html", path)
        assert (code, err.count("\n")) == (2, 1)
        assert sentence in err
    assert not (tmp_path / "r.html").exists()


def places(value, place=()):
    """Every place in nested data."""
    yield place
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from places(item, (*place, key))


@pytest.mark.parametrize("kind", [suite(case({"numba": [1.0, 2.0]}), goal=goal({"cpu": [1.0, 2.0]})), scaling(), estimates()],
                         ids=["suite", "scaling", "estimates"])  # fmt: skip
@pytest.mark.parametrize("wrong", [None, [], {}, "x", -1, 1e300, 0, True, "\ud800"], ids=repr)
def test_whatever_is_wrong_in_a_file_is_a_sentence_or_does_no_harm(tmp_path, kind, wrong):
    sentences = []
    for place in places(kind):
        found = copy.deepcopy(kind)
        if not place:
            found = wrong
        else:
            inside = found
            for key in place[:-1]:
                inside = inside[key]
            inside[place[-1]] = wrong
        path = written(tmp_path / "wrong.json", found)
        try:
            content = read_result(path, *KINDS)
        except InputError as error:
            sentences.append(str(error))
            continue
        assert "</html>" in page([content, content])
        if content.get("format") == "nnaccel-bench":
            list(compare.differences(content, content))
    assert sentences
    assert max(map(len, sentences)) < 500


def test_the_interval_holds_what_it_promises():
    """Of two sets of samples alike, in which one in ten is disturbed, hardly one interval in a hundred rules out 1."""
    random = np.random.default_rng(0)
    trials, wrong = 2000, 0
    for _ in range(trials):
        first, second = (np.exp(random.normal(0, 0.1, 8)) * np.where(random.random(8) < 0.1, 3, 1) for _ in range(2))
        wrong += ratio_interval(first.tolist(), second.tolist()).without_one
    assert wrong / trials < 0.015


def test_the_interval_finds_a_difference():
    random = np.random.default_rng(1)
    found = [
        ratio_interval(np.exp(random.normal(0, 0.02, 9)).tolist(), (1.1 * np.exp(random.normal(0, 0.02, 9))).tolist())
        for _ in range(200)
    ]
    assert np.mean([each.without_one for each in found]) > 0.95
    assert np.median([each.ratio for each in found]) == pytest.approx(1.1, rel=0.01)
    assert all(each.low <= each.ratio <= each.high for each in found)


def verdicts(first, second):
    return {each.contender: each.verdict for each in compare.differences(first, second)}


def test_on_one_machine_a_difference_is_told_from_noise():
    before = suite(case({"numba": STEADY, "numpy": LOOP}))
    slower = suite(case({"numba": times(STEADY, 1.2), "numpy": LOOP}))
    jittery = suite(case({"numba": [0.9, 1.3, 1.0, 1.2, 0.95, 1.25, 1.04], "numpy": LOOP}))
    assert verdicts(before, slower) == {"numba": "slower, beyond the noise", "numpy": "the control"}
    assert verdicts(slower, before)["numba"] == "faster, beyond the noise"
    assert verdicts(before, jittery)["numba"] == "within the noise"


def test_a_machine_that_has_become_slower_is_no_difference():
    before = suite(case({"numba": STEADY, "numpy": LOOP}))
    after = suite(case({"numba": times(STEADY, 1.3), "numpy": times(LOOP, 1.3)}))
    assert verdicts(before, after)["numba"] == "within the noise"
    after = suite(case({"numba": times(STEADY, 1.3), "numpy": times(LOOP[::-1], 1.29)}))
    assert verdicts(before, after)["numba"] == "within the noise"
    # Nor is one that the control alone shows.
    after = suite(case({"numba": STEADY, "numpy": times(LOOP, 1.3)}))
    assert verdicts(before, after)["numba"] == "within the noise"


def test_few_samples_tell_nothing():
    before, after = (suite(case({"numba": [x] * 4, "numpy": [9.0] * 4})) for x in (1.0, 2.0))
    assert verdicts(before, after)["numba"] == "too few samples to tell"


def test_between_machines_there_are_ratios_alone():
    first, second = suite(case({"numba": STEADY})), suite(case({"numba": times(STEADY, 2)}), processor="Abacus 4")
    (found,) = compare.differences(first, second)
    assert (found.verdict, found.interval.ratio) == ("", pytest.approx(2.0))
    assert found.first == pytest.approx(1.03 / 2)
    other = copy.deepcopy(first)
    other["machine"]["available_memory_bytes"] = 7
    assert same_machine(first, other)
    other["machine"]["affinity_cores"] = 1
    assert not same_machine(first, other)


def test_the_goal_is_compared_as_a_case():
    first, second = (suite(goal=goal({"numba": times(STEADY, x), "cpu": LOOP})) for x in (1, 1.5))
    assert [(each.case, each.contender, each.verdict) for each in compare.differences(first, second)] == [
        ("digits to accuracy 0.95", "numba", "slower, beyond the noise"),
        ("digits to accuracy 0.95", "cpu", "the control"),
    ]


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        (suite(case({"numba": STEADY}, dtype="float64")), "the dtype of 'digits, sgd' is float64 in the one and float32 in the other"),
        (suite(case({"numba": STEADY}, batch=100)), "the batch of 'digits, sgd' is 100 in the one and 200 in the other"),
        (suite(case({"numba": STEADY}, name="wide")), "has no case in common with"),
        (suite(), "has no case in common with"),
        (scaling(), "is a result of another kind, nnaccel-scaling"),
    ],
    ids=["dtype", "batch", "case", "nothing", "kind"],
)  # fmt: skip
def test_what_is_not_comparable_is_refused(command, tmp_path, other, sentence):
    first, second = written(tmp_path / "a.json", suite(case({"numba": STEADY}))), written(tmp_path / "b.json", other)
    code, out, err = command("bench", "--compare", first, second)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert sentence in err
    assert str(second) in err


def test_the_comparison_that_people_see(command, tmp_path):
    paths = [
        written(tmp_path / "a.json", suite(case({"numba": STEADY, "numpy": LOOP}))),
        written(tmp_path / "b.json", suite(case({"numba": times(STEADY, 2), "numpy": LOOP}), finished=False)),
        written(
            tmp_path / "c.json",
            suite(case({"numba": times(STEADY, 4)}), processor="Abacus 4", load_before=[1.26, 0, 0]),
        ),
    ]
    code, out, err = command("bench", "--compare", *paths)
    assert (code, err) == (0, "")
    for part in (
        "1  a.json: Abacus 3, 4 cores; nnaccel 0.1.0; 2026-01-02T03:04:05+00:00\n",
        "2  b.json: Abacus 3, 4 cores; nnaccel 0.1.0; 2026-01-02T03:04:05+00:00; incomplete: it was interrupted\n",
        "3  c.json: Abacus 4, 4 cores; nnaccel 0.1.0; 2026-01-02T03:04:05+00:00; other work: a load of 1.3\n", "one machine", "two machines", "99% sure", "slower, beyond the noise", "the control",
    ):  # fmt: skip
        assert part in out
    (line,) = [line for line in out.splitlines() if line.endswith("beyond the noise")]
    assert line.split()[:6] == ["digits,", "sgd", "numba", "515", "1030", "2"]
    code, out, _ = command("bench", "--compare", *paths, "--json")
    found = json.loads(out)
    assert [(each["file"], each["contender"], each["verdict"]) for each in found["differences"]] == [
        (1, "numba", "slower, beyond the noise"),
        (1, "numpy", "the control"),
        (2, "numba", None),
    ]


class Page(HTMLParser):
    """What a browser would find."""

    VOID = ("meta", "br", "link", "img", "input")

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.open, self.text = [], [], [], ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes

    def handle_data(self, data):
        self.text += data


def all_kinds():
    first = suite(case({"numba": STEADY, "cpu": LOOP, "numpy": LOOP}), goal=goal({"numba": STEADY}))
    second = suite(case({"numba": times(STEADY, 3)}), processor="Abacus 4", finished=False,
                   unavailable=[{"name": "cuda", "reason": "no driver"}])  # fmt: skip
    return [first, second, scaling(), estimates()]


def test_the_page_shows_all_and_needs_nothing_else(command, tmp_path):
    paths = [written(tmp_path / f"{i}.json", content) for i, content in enumerate(all_kinds())]
    code, out, err = command("bench", "--report", tmp_path / "report.html", *paths)
    assert (code, out, err) == (0, f"written    {tmp_path / 'report.html'}\n", "")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    found = Page(text)
    for title in (
        "Time per epoch on Abacus 3, 4 cores", "Time per epoch on Abacus 4, 4 cores", "Machines side by side: numba",
        "Until accuracy 0.95 on rows held out, on Abacus 3, 4 cores", "Cost of an epoch over rows", "Cost of a row over width",
        "Predicted against actual time of a training", "incomplete: it was interrupted", "cuda left out: no driver",
        "2 trainings: median error 25.0%, 50% within the interval.", "64410 µs",
    ):  # fmt: skip
        assert title in found.text
    assert "Machines side by side: cpu" not in found.text
    names = {name for name, _ in found.attributes}
    assert not names & {"src", "href", "xlink:href", "onload", "onclick"}
    assert not re.search(r"url\(|@import|http", text)
    assert "script" not in found.tags
    assert ("name", "viewport") in found.attributes
    assert "prefers-color-scheme:dark" in text


def test_every_plot_has_a_title_and_its_numbers():
    found = Page(page(all_kinds()))
    plots = found.tags.count("svg")
    assert plots == found.tags.count("table") == found.tags.count("section") == 7
    assert found.attributes.count(("role", "img")) == plots
    assert sum(name == "aria-label" for name, _ in found.attributes) == plots


def test_text_from_files_stays_text():
    evil = '"><script>alert(1)</script>\u202e\ud800'
    first = suite(case({evil: STEADY}, name=evil), processor=evil, date=evil, goal=goal({evil: STEADY}) | {"data": evil, "metric": evil},
                  unavailable=[{"name": evil, "reason": evil}], versions={"nnaccel": evil})  # fmt: skip
    points = [point | {"sweep": evil} for point in scaling()["points"]]
    trainings = [each | {"backend": evil, "dtype": evil} for each in estimates()["configurations"]]
    results = [first, first, scaling(evil, backend=evil, points=points), estimates(configurations=trainings)]
    found = Page(page(results).encode("utf-8", "replace").decode())
    assert "script" not in found.tags
    assert '"><script>alert(1)</script>' in found.text
    assert "\u202e" not in found.text


def test_nothing_measured_is_a_page_all_the_same():
    assert Page(page([suite(), scaling(points=[]), estimates(configurations=[])])).tags.count("svg") == 0


@pytest.mark.parametrize("value", [1e-12, 3.3e-7, 1.0, 999.0, 1e12])
def test_scales_hold_their_values(value):
    scale = Scale.around([value, 2.5 * value], 10, 110)
    assert 10 <= scale.place(value) < scale.place(2.5 * value) <= 110
    assert 2 <= len(scale.ticks) <= 8
    assert scale.place(scale.low) == 10
    assert scale.place(scale.high) == 110


def test_a_single_value_has_a_scale():
    scale = Scale.around([10.0, 10.0], 0, 100)
    assert scale.low <= 10.0 <= scale.high
    assert 0 <= scale.place(10.0) <= 100


def test_many_series_and_rows_are_drawn_within_the_plot():
    names = [f"series number {i}" for i in range(SERIES + 3)]
    rows = {f"row {i}": {name: 10.0 ** (i + j) for j, name in enumerate(names)} for i in range(4)}
    lines = {name: [Point(1.0, 2.0, 1.0, 3.0), Point(100.0, 1e4)] for name in names}
    for svg in (bars("title", rows), curves("title", lines, ("x", "y"), (count_text, time_text), diagonal=True)):
        root = xml.etree.ElementTree.fromstring(standalone(svg))
        width, height = map(float, root.attrib["viewBox"].split()[2:])
        marks = [tuple(map(float, re.findall(r"-?[\d.]+", mark))) for mark in re.findall(r'transform="([^"]+)"', svg)]
        ends = [
            (
                float(each.attrib["x"]) + float(each.attrib["width"]),
                float(each.attrib["y"]) + float(each.attrib["height"]),
            )
            for each in root.iter("{http://www.w3.org/2000/svg}rect")
        ]
        assert len(marks) + len(ends) > len(names)
        assert all(0 <= x <= width and 0 <= y <= height for x, y in [*marks, *ends])


def test_bars_are_as_long_as_their_values():
    svg = bars("title", {"a": {"x": 1.0, "y": 4.0}, "b": {"x": 100.0}})
    widths = [float(width) for width in re.findall(r'<rect[^>]* width="([^"]+)"', svg)]
    assert widths[1] == widths[2] == 4 * widths[0]


def test_a_contender_with_one_sample_is_not_shown():
    (found,) = measured(suite(case({"numba": [1.0], "cpu": [1.0, 3.0]})))
    assert list(found.series) == ["cpu"]
    assert (found.series["cpu"].median, found.series["cpu"].rows) == (1.0, 1600)
