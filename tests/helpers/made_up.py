"""Records as runs leave them, without the runs."""

from longlag import records

CONFIG = {  # what every configuration has
    "batch_size": 32,
    "embedding": None,
    "max_steps": 1000,
    "model": {},
    "lag_mode": {},
    "optimizer": {},
    "trainer": {"devices": 1},
    "logger": {},
    "runtime": {"threads": 1},
    "validation": {"every": 50, "sequences": 512},
    "eval": {"lags": None, "sequences": 256},
    "budget": {"sequences": None, "seconds": None, "no_progress_at": None, "parameters": None, "core_parameters": None},
}
NO_STATE = {"half_life": None, "state_log10_over_lag": None}


def run(
    model: str = "lstm",
    seed: int = 0,
    lag: int = 100,
    task: str = "copy",
    accuracy: float | None = None,
    steps: int | None = 200,
    solved_at: float | None = 0.99,
    **settings: object,
) -> records.Record:
    """A finished run, solved after `steps` or not at all, tested at half its lag, at its lag and at twice its lag."""
    config = {"lag": lag, "seed": seed, "lr": 0.01, "task": {"solved_at": solved_at}, "stream": 2, **CONFIG} | settings
    accuracy = (0.2 if steps is None else 1.0) if accuracy is None else accuracy
    tested = [(lag // 2, accuracy), (lag, accuracy), (2 * lag, 0.1)]
    return records.new(config, model, task) | {
        "status": "finished",
        "solved": steps is not None,
        "steps_to_solve": steps,
        "test": {"accuracy": accuracy, "loss": 0.5, "chance": 0.125, "sequences": 256},
        "lag_curve": [
            {"lag": at, "accuracy": score, "loss": 0.5, "chance": 0.125, "sequences": 256} for at, score in tested
        ],
        "gradient": profile(0, {0: -1.0, 1: -1.5, lag: -3.5}) + profile(9, {0: -1.0, 1: -1.0, lag: -2.0}),
        "gradient_scalars": [
            {"step": 0, "log10_over_lag": -2.5, "decades_per_step": 0.025, "horizon": lag, **NO_STATE},
            {"step": 9, "log10_over_lag": -1.0, "decades_per_step": 0.01, "horizon": lag, **NO_STATE},
        ],
        "cost": {"parameters": 4417, "seconds": 30.4},
    }


def profile(step: int, norms: dict[int, float | None]) -> list[dict]:
    """The gradient at a step of the training: log10 norms by distance."""
    return [{"step": step, "distance": distance, "log10_norm": norm} for distance, norm in norms.items()]


def failed(**which: object) -> records.Record:
    """A run that came to nothing."""
    nothing = {"test": {}, "lag_curve": [], "gradient": [], "gradient_scalars": [], "cost": {}}
    return run(**which) | {"status": "failed", "solved": False, "steps_to_solve": None} | nothing


def untested(**which: object) -> records.Record:
    """A finished run that drew no test data."""
    return run(**which) | {"test": {}, "lag_curve": []}


def artefacts(text: str) -> dict:
    """An artefact of each kind that says the text wherever it can."""
    curves = [
        {"name": "observed", "role": "input", "start": 0, "values": [0.0, 1.0]},
        {"name": text, "role": "target", "start": 2, "values": [0.5, 0.2]},
        {"name": "forecast", "role": "output", "start": 2, "values": [0.4, 0.1]},
    ]
    return {
        "forecasts": {"kind": "curves", "title": text, "y": text, "panels": [curves]},
        "sample": {"kind": "text", "title": text, "about": text, "text": text},
        "state": {"kind": "image", "title": text, "x": text, "y": text, "values": [[0.0, 1.0], [1.0, None]]},
    }
