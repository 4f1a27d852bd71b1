"""`nnaccel demo`: the two historic networks that the project comes from, trained by the same engine as everything else."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nnaccel.cli.screen import duration, plot

if TYPE_CHECKING:
    from nnaccel.report import TrainingReport

demo = typer.Typer(
    help="Train one of the two historic networks that nnaccel comes from.",
    epilog="Example: nnaccel demo neuron",
    rich_markup_mode=None,
    no_args_is_help=True,
)

Backend = Annotated[str, typer.Option(help="auto, cpu, numba or cuda; see nnaccel info.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@demo.command(epilog="Example: nnaccel demo neuron --backend cpu")
def neuron(backend: Backend = "auto", as_json: Json = False) -> None:
    """The nine-line network: one sigmoid neuron learns that the first of three inputs is the answer."""
    import numpy as np

    from nnaccel.network import Dense, Network
    from nnaccel.optimizers import SGD
    from nnaccel.order import Sequential
    from nnaccel.training import train

    X = np.array([[0.0, 0, 1], [1, 1, 1], [1, 0, 1], [0, 1, 1]])
    answers = np.array([0.0, 1, 1, 0])
    weights = 2 * np.random.RandomState(1).random_sample((3, 1)) - 1
    # w += X.T @ ((y - o) * o * (1 - o)) is a step of 0.5 down the gradient of the sum of squares.
    model = train(
        Network(3, [Dense(1, "sigmoid", bias=False)]), X, answers,
        loss="sum_of_squares", optimizer=SGD(0.5), epochs=10_000, batch_size=None,
        order=Sequential(), initial=[[weights]], dtype="float64", backend=backend,
    )  # fmt: skip
    prediction = float(model.predict([[1.0, 0.0, 0.0]])[0])
    assert model.report is not None, "train() leaves a report"
    if as_json:
        _print_json(model.report, prediction=prediction)
        return
    print("Considering the new situation 1 0 0: the answer is")
    print(f"{prediction:.8f}")
    print(_how(model.report))


@demo.command(epilog="Example: nnaccel demo two-layer")
def two_layer(backend: Backend = "auto", as_json: Json = False) -> None:
    """The next one: a hidden layer of four neurons learns the exclusive or of the first two inputs."""
    import numpy as np

    from nnaccel.network import Dense, Network
    from nnaccel.optimizers import SGD
    from nnaccel.order import Sequential
    from nnaccel.training import train

    X = np.array([[0.0, 0, 1], [0, 1, 1], [1, 0, 1], [1, 1, 1]])
    truth = np.array([0.0, 1, 1, 0])
    random = np.random.RandomState(1)
    initial = [[random.random_sample((3, 4))], [random.random_sample((4, 1))]]
    model = train(
        Network(3, [Dense(4, "sigmoid", bias=False), Dense(1, "sigmoid", bias=False)]), X, truth,
        loss="sum_of_squares", optimizer=SGD(1.0), epochs=1_500, batch_size=None,
        order=Sequential(), initial=initial, dtype="float64", backend=backend,
    )  # fmt: skip
    predictions = model.predict(X)
    assert model.report is not None, "train() leaves a report"
    losses = [len(X) * mean for mean in model.report.history["train_loss"]]
    if as_json:
        _print_json(model.report, predictions=predictions.tolist(), loss=losses)
        return
    print("inputs  truth  prediction")
    for row, wanted, got in zip(X, truth, predictions, strict=True):
        print(f"{row[0]:.0f} {row[1]:.0f} {row[2]:.0f}   {wanted:5.0f}  {got:.6f}")
    print(f"\nsum of squares over {len(losses):,} steps")
    print("\n".join(plot(losses)))
    print(_how(model.report))


def _how(report: "TrainingReport") -> str:
    return f"{report.epochs:,} steps in {duration(report.seconds)} on backend {report.backend}, kernel {report.kernel}"


def _print_json(report: "TrainingReport", **values: Any) -> None:
    print(json.dumps(values | {"seconds": report.seconds, "backend": report.backend, "kernel": report.kernel}))
