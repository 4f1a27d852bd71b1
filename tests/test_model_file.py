"""Model files: what was saved comes back, anyone can read it, and nothing that a hostile one holds gets past `load`."""

import contextlib
import copy
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import load_file, save

from nnaccel import Dense, InputError, Model, Network, load, train
from nnaccel.cli import run
from nnaccel.losses import as_loss
from nnaccel.model import _restore
from nnaccel.preparation import Question, Roles, prepare
from nnaccel.sources.frames import FrameSource
from nnaccel.sources.opening import open_source

FRAME = pd.DataFrame(
    {
        "age": [31, 45, np.nan, 28, 51, 39, 62, 24] * 5,
        "town": ["Bonn", "Kiel", "Ulm", None, "Bonn", "Kiel", "Bonn", "Ulm"] * 5,
        "joined": ["2024-01-31", "2023-05-01", "2022-11-11", "2024-02-29"] * 10,
        "member": ["yes", "no"] * 20,
        "rich": ["no", "yes", "maybe", "no"] * 10,
    }
)


def trained(target="rich", dtype="float32", **options):
    """A model of the frame, its encoding and report included."""
    prepared = prepare(FrameSource(FRAME), Question(Roles(target), dtype=dtype))
    outputs = prepared.encoding.target.outputs
    network = Network(prepared.encoding.width, [Dense(5, "leaky_relu,slope=0.1", dropout=0.1), Dense(outputs)])
    part, held_out = prepared.training, prepared.held_out
    model = train(network, part.x, part.y, validation=(held_out.x, held_out.y), epochs=3, dtype=dtype, **options)
    return Model(model.network, model.loss, model.parameters, prepared.encoding, model.report)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A model, the path of its file, its description and its tensors."""
    path = tmp_path_factory.mktemp("models") / "m.safetensors"
    model = trained()
    model.save(path)
    with safe_open(path, framework="numpy") as file:
        description = json.loads(file.metadata()["nnaccel"])
    return model, path, description, load_file(path)


@pytest.mark.parametrize(("target", "dtype"), [("rich", "float32"), ("age", "float64")])
def test_what_was_saved_comes_back(tmp_path, target, dtype):
    model = trained(target, dtype)
    model.save(tmp_path / "m.safetensors")
    again = load(tmp_path / "m.safetensors")
    assert (again.network, again.loss) == (model.network, model.loss)
    np.testing.assert_array_equal(again.parameters, model.parameters)
    assert again.parameters.dtype == dtype
    assert again.report.describe() == model.report.describe()
    assert again.encoding.describe() == model.encoding.describe()
    np.testing.assert_array_equal(again.outputs(FRAME), model.outputs(FRAME))


def test_a_model_of_arrays_comes_back(tmp_path):
    network = Network(2, [Dense(3, "tanh", bias=False), Dense(1)])
    model = Model(network, as_loss("huber,delta=0.5"), network.initial_parameters(0, "float64"))
    model.save(tmp_path / "m.safetensors")
    again = load(tmp_path / "m.safetensors")
    assert (again.network, again.loss, again.encoding, again.report) == (network, model.loss, None, None)
    np.testing.assert_array_equal(again.predict(np.eye(2)), model.predict(np.eye(2)))


def test_any_program_can_read_it(saved):
    model, _, description, tensors = saved
    assert set(tensors) == {
        "layers.0.weight", "layers.0.bias", "layers.1.weight", "layers.1.bias",
        "encoding.mean", "encoding.scale", "encoding.had_gaps",
    }  # fmt: skip
    assert tensors["layers.0.weight"].shape == (model.encoding.width, 5)
    assert (description["format"], description["loss"], description["dtype"]) == (1, "softmax_cross_entropy", "float32")
    # The whole prediction of one row, by what the file alone says.
    assert description["encoding"]["numbers"] == ["age", "joined", "member"]
    raw = np.array([np.nan, 19_782.0, 0.0])  # no age, 2024-02-29, not a member
    x = np.where(np.isnan(raw), 0, (raw - tensors["encoding.mean"]) / tensors["encoding.scale"])
    town = description["encoding"]["categories"][0]
    ones = [float(word == "Kiel") for word in town["words"]] + [0.0] * (town["others"] + town["gaps"])
    row = np.array([*x, *np.isnan(raw)[tensors["encoding.had_gaps"].astype(bool)], *ones], np.float32)
    z = row @ tensors["layers.0.weight"] + tensors["layers.0.bias"]
    z = np.where(z > 0, z, 0.1 * z) @ tensors["layers.1.weight"] + tensors["layers.1.bias"]
    one = pd.DataFrame({"age": [np.nan], "town": ["Kiel"], "joined": ["2024-02-29"], "member": ["no"]})
    np.testing.assert_allclose(model.outputs(one)[0], z, rtol=1e-5)


def test_it_is_as_readable_as_other_files(saved, tmp_path):
    (tmp_path / "other").write_text("")
    assert saved[1].stat().st_mode == (tmp_path / "other").stat().st_mode


def test_loading_and_predicting_need_only_numpy_and_safetensors(saved, tmp_path):
    """Every other package is hidden from the import system."""
    code = """
import sys
from importlib.metadata import packages_distributions

hidden = set(packages_distributions()) - {"numpy", "safetensors", "nnaccel"}
hidden = {name for name in hidden if name not in sys.modules and not name.startswith("__editable__")}
class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in hidden:
            raise ImportError(f"{name} is hidden")
sys.meta_path.insert(0, Hide())
import nnaccel
model = nnaccel.load(sys.argv[1])
columns = {"age": [31.0], "town": ["Kiel"], "joined": ["2024-02-29"], "member": ["yes"]}
print(model.predict(columns)[0], model.predict_proba(columns).shape)
"""
    done = subprocess.run([sys.executable, "-c", code, str(saved[1])], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] in ("no", "yes", "maybe")


def broken(saved, change):
    """Restore the description and tensors after a change to copies of them, predict, and describe."""
    _, path, description, tensors = saved
    description, tensors = copy.deepcopy(description), dict(tensors)
    change(description, tensors)
    written = path.with_name("broken.safetensors")
    written.write_bytes(save(tensors, {"nnaccel": json.dumps(description)}))
    load(written).predict(FRAME)


BROKEN = {
    "no network": lambda d, t: d.pop("network"),
    "another kind of layer": lambda d, t: d["network"]["layers"][0].update(kind="conv2d"),
    "huge layer": lambda d, t: d["network"]["layers"][0].update(units=10**15),
    "negative input": lambda d, t: d["network"].update(input_shape=[-3]),
    "units as text": lambda d, t: d["network"]["layers"][0].update(units="5"),
    "unknown activation": lambda d, t: d["network"]["layers"][0].update(activation="rellu"),
    "other loss": lambda d, t: d.update(loss="poisson"),
    "other loss for classes": lambda d, t: d.update(loss="binary_cross_entropy"),
    "loss as a number": lambda d, t: d.update(loss=3),
    "format true": lambda d, t: d.update(format=True),
    "parameters of NaN": lambda d, t: t.update({"layers.0.bias": np.full(5, np.nan, np.float32)}),
    "whole parameters": lambda d, t: t.update({"layers.0.bias": np.zeros(5, np.int32)}),
    "mixed dtypes": lambda d, t: t.update({"layers.0.bias": np.zeros(5)}),
    "missing tensor": lambda d, t: t.pop("layers.1.weight"),
    "layer too many": lambda d, t: t.update({"layers.7.weight": np.zeros((2, 2), np.float32)}),
    "layer from the end": lambda d, t: t.update({"layers.-1.weight": t.pop("layers.1.weight")}),
    "foreign tensor": lambda d, t: t.update({"xyz.mean": np.zeros(3)}),
    "tensor of another shape": lambda d, t: t.update({"layers.0.weight": np.zeros((1, 5), np.float32)}),
    "scale of zero": lambda d, t: t.update({"encoding.scale": np.zeros(3)}),
    "mean of NaN": lambda d, t: t.update({"encoding.mean": np.full(3, np.nan)}),
    "short scale": lambda d, t: t.update({"encoding.scale": np.ones(2)}),
    "encoding of nothing": lambda d, t: d.update(encoding={}),
    "encoding of text": lambda d, t: d.update(encoding=""),
    "encoding false": lambda d, t: d.update(encoding=False),
    "no encoding but its arrays": lambda d, t: d.update(encoding=None),
    "words as lists": lambda d, t: d["encoding"]["categories"][0].update(words=[["Bonn"], ["Kiel"], ["Ulm"]]),
    "words as one text": lambda d, t: d["encoding"]["categories"][0].update(words="abc"),
    "words twice": lambda d, t: d["encoding"]["categories"][0].update(words=["Bonn", "Bonn", "Ulm"]),
    "too many words": lambda d, t: d["encoding"]["categories"][0]["words"].append("Köln"),
    "others as text": lambda d, t: d["encoding"]["categories"][0].update(others="no"),
    "format as a number": lambda d, t: d["encoding"]["formats"].update(joined=3),
    "format of nonsense": lambda d, t: d["encoding"]["formats"].update(joined="%Q"),
    "named as text": lambda d, t: d["encoding"].update(named="false"),
    "columns as numbers": lambda d, t: d["encoding"].update(columns=[1, 2, 3, 4, 5]),
    "another task": lambda d, t: d["encoding"]["target"].update(task="regression", classes=[]),
    "an unknown task": lambda d, t: d["encoding"]["target"].update(task="ranking"),
    "too few classes": lambda d, t: d["encoding"]["target"]["classes"].pop(),
    "classes of two kinds": lambda d, t: d["encoding"]["target"].update(classes=[1, "no", "yes"]),
    "classes true and false": lambda d, t: d["encoding"]["target"].update(classes=[False, True, 3]),
    "report of nothing": lambda d, t: d.update(report={}),
    "report of text": lambda d, t: d["report"].update(seconds="long"),
    "report of settings": lambda d, t: d["report"].update(settings=[1]),
    "metrics as a list": lambda d, t: d["report"].update(metrics=[0.5]),
    "uneven history": lambda d, t: d["report"]["history"]["epoch"].append(9),
}


@pytest.mark.parametrize("change", BROKEN.values(), ids=BROKEN)
def test_a_damaged_file_gets_one_sentence(saved, change):
    with pytest.raises(InputError) as caught:
        broken(saved, change)
    sentence = str(caught.value)
    assert "broken.safetensors is damaged: " in sentence
    assert len(sentence) < 600
    assert "\n" not in sentence


def test_parameters_that_overflow_get_a_sentence(saved):
    huge = {"layers.1.weight": np.full((5, 3), 3e38, np.float32) * np.array([1, -1, 1], np.float32)}
    with pytest.raises(InputError, match="the network puts out infinite numbers or NaN: its parameters are damaged"):
        broken(saved, lambda d, t: t.update(huge | {"layers.0.bias": np.full(5, 3e38, np.float32)}))


def test_a_sentence_does_not_quote_the_whole_file(saved):
    path = saved[1].with_name("long.safetensors")
    header = json.dumps({"x": {"dtype": "y" * 100_000, "shape": [], "data_offsets": [0, 0]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(InputError) as caught:
        load(path)
    assert len(str(caught.value)) < 600


def test_later_entries_are_let_pass(saved):
    """A newer version of the same format may add to a description; an older one may lack what came later."""
    broken(saved, lambda d, t: d.update(later={"x": 1}))
    broken(saved, lambda d, t: d["report"].update(later=1))
    broken(saved, lambda d, t: [d["report"].pop(name) for name in ("settings", "baseline", "data", "finished")])


ATOMS = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 10**12), st.floats(), st.text(max_size=3), st.builds(list), st.builds(dict),
    st.just("x" * 5000), st.builds(lambda: [[]]),
)  # fmt: skip


def paths_into(value, path=()):
    """Every place in a description."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from paths_into(item, (*path, key))


@settings(max_examples=600, deadline=None)
@given(data=st.data())
def test_no_edited_description_gets_past_load(saved, data):
    """Whatever one edits, loading and predicting either work or say in one sentence what is wrong."""
    _, _, description, tensors = saved
    edited = copy.deepcopy(description)
    for _ in range(data.draw(st.integers(1, 2))):
        places = [place for place in paths_into(edited) if place]
        *parents, last = data.draw(st.sampled_from(places))
        owner = edited
        for key in parents:
            owner = owner[key]
        if data.draw(st.booleans()):
            owner[last] = data.draw(ATOMS)
        elif isinstance(owner, dict):
            del owner[last]
        else:
            owner.insert(last, owner[last])
    try:
        restored = _restore(edited, tensors)
    except ValueError as error:
        assert str(error)  # noqa: PT017  (load makes a sentence of it)
        return
    with contextlib.suppress(InputError):
        restored.predict(FRAME)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_no_torn_file_gets_past_load(saved, data):
    path = saved[1]
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    else:
        for _ in range(3):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    torn = path.with_name("torn.safetensors")
    torn.write_bytes(content)
    try:
        load(torn).predict(FRAME)
    except InputError as error:
        assert "\n" not in str(error)  # noqa: PT017


def test_info_survives_control_characters(saved, capsys):
    """Names of columns come from files, which anyone may have written."""
    _, path, description, tensors = saved
    edited = json.loads(json.dumps(description).replace("Kiel", "\\u001b[2JKiel"))
    written = path.with_name("escape.safetensors")
    written.write_bytes(save(tensors, {"nnaccel": json.dumps(edited)}))
    assert run(["info", str(written)]) == 0
    assert "\x1b" not in capsys.readouterr().out


def test_files_of_format_1_predict_what_they_predicted(capsys):
    """How gaps, truth values and dates are spelled is a part of the format: change it, and old models predict otherwise."""
    folder = Path(__file__).parent / "data"
    model = load(folder / "format-1.safetensors")
    assert model.network == Network(model.encoding.width, [Dense(6, "tanh"), Dense(2)])
    assert dict(model.encoding.numbers.formats) == {"member": "boolean", "joined": "%d.%m.%Y", "seen": "iso"}
    expected = pd.read_csv(folder / "format-1-predictions.csv")
    source = open_source(str(folder / "format-1.csv"))
    np.testing.assert_array_equal(model.predict(source), expected["rich"])
    np.testing.assert_allclose(model.predict_proba(source), expected[expected.columns[1:]], rtol=1e-4)
    assert run(["info", str(folder / "format-1.safetensors")]) == 0
    assert "'joined', a date like 31.12.2024" in capsys.readouterr().out
