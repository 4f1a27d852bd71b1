"""Result files for tests: what `nnaccel bench` writes, made up."""

import json

DIGITS = {
    "name": "digits", "optimizer": "sgd", "rows": 1797, "features": 64, "hidden": [100], "outputs": 10,
    "activation": "relu", "output_activation": "identity", "bias": True, "loss": "softmax_cross_entropy", "batch": 200,
    "dtype": "float32",
}  # fmt: skip


def machine(processor="Abacus 3"):
    return {
        "system": "Linux", "architecture": "x86_64", "processor": processor, "logical_cores": 4, "physical_cores": 2,
        "affinity_cores": 4, "usable_cores": 4, "quota_cores": None, "instruction_sets": ["avx2"],
        "caches": {"l1d": 1, "l2": 2, "l3": None}, "memory_bytes": 10, "available_memory_bytes": 5, "gpus": [],
    }  # fmt: skip


def conditions(processor="Abacus 3"):
    return {
        "date": "2026-01-02T03:04:05+00:00", "load_before": [0.0, 0.0, 0.0], "machine": machine(processor),
        "system": {"name": "Linux", "release": "6", "libc": "glibc 2"},
        "python": {"version": "3.12", "implementation": "CPython", "compiler": "GCC"}, "versions": {"nnaccel": "0.1.0"},
        "environment": {}, "commit": None, "blas": [],
    }  # fmt: skip


def contender(name, samples):
    return {
        "name": name, "kind": "peer" if name == "numpy" else "backend", "status": "timed", "kernel": "k", "reason": "",
        "difference": None, "start_seconds": 0.0, "first_seconds": [0.0, 0.0], "compile_seconds": 0.0,
        "seconds_per_epoch": 1.0, "samples": samples,
    }  # fmt: skip


def case(samples, **changes):
    """A case of two epochs a sample, by the samples of each contender."""
    return {
        "case": DIGITS | changes, "steps_per_epoch": 8, "epochs_per_sample": 2, "operations_per_epoch": 1000,
        "peak": {"library": "numpy", "size": 64, "operations_per_second": 1e9}, "floor_seconds_per_epoch": 1e-6,
        "contenders": [contender(name, each) for name, each in samples.items()],
    }  # fmt: skip


def goal(samples, score=0.95):
    return {
        "data": "digits", "task": "classification", "rows": 1438, "held_out": 359, "features": 64, "hidden": [100],
        "outputs": 10, "loss": "softmax_cross_entropy", "optimizer": "adam", "batch": 64, "dtype": "float32", "seed": 0,
        "metric": "accuracy", "score": score, "most_epochs": 100,
        "contenders": [
            {"name": name, "kernel": "k", "reached": True, "epochs": 7, "score": 0.96, "reason": "", "compile_seconds": 0.0,
             "samples": each}
            for name, each in samples.items()
        ],
    }  # fmt: skip


def suite(*cases, processor="Abacus 3", goal=None, **changes):
    settings = {
        "backends": ["numba"], "cases": ["digits"], "optimizers": ["sgd"], "peers": False, "threads": None, "rounds": 11,
        "quick": False,
    }  # fmt: skip
    return {
        "format": "nnaccel-bench", "version": 2, "finished": True, "seconds": 1.0, "settings": settings,
        **conditions(processor), "unavailable": [], "skipped": [], "notes": {}, "results": list(cases), "goal": goal,
    } | changes  # fmt: skip


def scaling(processor="Abacus 3", **changes):
    points = [
        {
            "sweep": sweep, "value": value, "hidden": [128], "rows": value if sweep == "rows" else 8192, "batch": 128,
            "threads": None, "parameters": 10, "epochs_per_sample": 1, "seconds_per_row": 1e-7 * value,
            "samples": [0.1, 0.1],
        }
        for sweep in ("width", "rows")
        for value in (16, 64)
    ]  # fmt: skip
    return {
        "format": "nnaccel-scaling",
        "version": 1,
        "backend": "numba",
        **conditions(processor),
        "points": points,
    } | changes


def estimates(**changes):
    """Two trainings, one of which took twice as long as predicted."""
    trainings = [
        {"backend": "numba", "dtype": "float32", "rows": 1000, "predicted_s": 2.0, "low_s": 1.5, "high_s": 2.5,
         "actual_s": actual, "more": "of it"}
        for actual in (2.0, 4.0)
    ]  # fmt: skip
    return {"suite": "estimates", "configurations": trainings} | changes


def written(path, content):
    path.write_text(json.dumps(content))
    return path
