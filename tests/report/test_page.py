"""The report: right for any set of runs, safe to open, alive in a browser."""

import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from helpers.made_up import CONFIG, NO_STATE, artefacts
from helpers.places import ROOT
from longlag import records
from longlag.report.groups import find
from longlag.report.page import page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
EVIL = "</pre><script>alert(1)</script><img src=x onerror=alert(2)>\"'"
VOID = {"meta", "img", "br", "line", "path", "circle"}


def run(model: str = "lstm", lag: int = 100, seed: int = 0, accuracy: float = 1.0, task: str = "copy") -> dict:
    config = {"lag": lag, "seed": seed, "lr": 0.01, "stream": 2, "task": {"solved_at": 0.99}, **CONFIG}
    solved = accuracy >= 0.99
    gradient = [
        {"step": step, "distance": distance, "log10_norm": -1.0 - distance / 10}
        for step in (0, 200)
        for distance in (0, 1, 10, lag)
    ]
    return records.new(config, model, task) | {
        "status": "finished",
        "command": f"python train.py model={model} lag={lag} seed={seed}",
        "solved": solved,
        "steps_to_solve": 200 if solved else None,
        "test": {"accuracy": accuracy, "loss": 0.5, "chance": 0.125, "sequences": 256},
        "lag_curve": [
            {"lag": at, "accuracy": accuracy, "chance": 0.125, "loss": 0.5, "sequences": 256} for at in (10, 100, 200)
        ],
        "learning_curve": [
            {"step": 50, "accuracy": 0.2, "loss": 2.0},
            {"step": 100, "accuracy": accuracy, "loss": 0.5},
        ],
        "gradient": gradient,
        "gradient_scalars": [
            {
                "step": 0,
                "log10_over_lag": -lag / 10,
                "decades_per_step": 0.1,
                "horizon": 30,
                "half_life": 3.0,
                **NO_STATE,
            }
        ],
        "cost": {"parameters": 4417, "seconds": 30.0, "peak_memory_bytes": 10**8, "tokens_per_second": 1e5},
        "environment": {"commit": "abc", "torch": "2"},
    }


def failed(**given: object) -> dict:
    lost = {"status": "failed", "error": "OSError: no space", "test": {}, "lag_curve": [], "gradient": [], "cost": {}}
    return run(**given) | lost | {"gradient_scalars": [], "environment": {}, "solved": False}  # type: ignore[arg-type]


def grid(seeds: int = 2) -> list[dict]:
    good = [run(lag=lag, seed=seed) for lag in (10, 30, 100) for seed in range(seeds)]
    return good + [run("rnn", lag, seed, accuracy=3 / lag) for lag in (10, 30, 100) for seed in range(seeds)]


class Outline(HTMLParser):
    """Checks that tags are closed in order; collects headings, captions, tags and text."""

    def __init__(self, html: str):
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.words: dict[str, list[str]] = {}
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, _: object) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, _: object) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.words.setdefault(self.open[-1], []).append(data)


def charts(html: str) -> dict[str, dict]:
    """What the script is given of each chart, by the chart's title."""
    found = re.findall(r'data-chart="([^"]*)"><title>([^<]*)<', html)
    return {title: json.loads(data.replace("&quot;", '"').replace("&amp;", "&")) for data, title in found}


def test_page_of_a_grid():
    html = page(grid(), "the gap")
    outline = Outline(html)
    assert outline.words["h1"] == ["the gap"]
    assert {"copy", "Table", "What was run"} <= set(outline.words["h2"])
    assert {"Trained at one lag, tested at others", "Learning", "Cost"} <= set(outline.words["h3"])
    assert "http://" not in html.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in html
    assert "python train.py model=rnn lag=30 seed=1" in html
    assert len(html) < 300_000


def test_headline_has_the_means_and_chance():
    shown = charts(page([run(accuracy=1.0), run(seed=1, accuracy=0.5), run(lag=10)], "t"))["Accuracy against lag"]
    assert (shown["xs"], shown["lines"][0]["name"], shown["lines"][0]["ys"]) == ([10, 100], "lstm", [1.0, 0.75])


def test_a_model_keeps_its_colour():
    html = page([*grid(), run("gru", 100)], "t")
    numbers = {
        (line["name"].removesuffix(", trained"), line["style"])
        for chart in charts(html).values()
        for line in chart["lines"]
        if line["name"] != "chance"
    }
    assert len(numbers) == 3


def test_one_group():
    html = page([run()], "t")
    outline = Outline(html)
    assert "Trained once, at lag 100" in charts(html)
    assert "Cost" not in outline.words["h3"]  # nothing to draw of one point
    assert any("fewer than 5 seeds" in words for words in outline.words["p"])


def test_nothing_finished():
    outline = Outline(page([failed(), failed(seed=1)], "t"))
    assert "svg" not in outline.tags
    assert any("None of these runs finished" in words for words in outline.words["p"])
    assert any("lstm on copy, lag 100, seed 1: failed, OSError: no space" in words for words in outline.words["pre"])


def test_mixed_tasks_and_failures_and_budgets():
    wide = run("gru", seed=3) | {"cost": run()["cost"] | {"parameters": 9999}}
    long = run(seed=4) | {"config": run(seed=4)["config"] | {"max_steps": 2000}}
    outline = Outline(page([*grid(), run(task="sine"), failed(seed=9), wide, long], "t"))
    assert {"copy", "sine"} <= set(outline.words["h2"])
    warnings = " ".join(outline.words["p"])
    assert "1 runs did not finish" in warnings
    assert "copy: the models differ in their parameters, from 4,417 to 9,999." in warnings
    assert "copy: the budgets differ, from 32,000 to 64,000 training sequences" in warnings


def test_what_stands_in_a_record_is_text():
    hostile = run(EVIL, task=EVIL) | {"command": EVIL, "error": EVIL, "example": artefacts(EVIL)}
    hostile["environment"] = {"commit": EVIL}
    html = page([hostile, hostile | {"status": "failed"}], EVIL)
    outline = Outline(html)
    assert outline.tags.count("script") == 1
    assert outline.tags.count("img") == 1  # the artefact that is an image
    assert "alert(1)" not in "".join(outline.words["script"])


def test_gates_are_shown_where_a_run_has_them(tmp_path: Path):
    records.write(run(), tmp_path)
    (tmp_path / "gates.png").write_bytes(b"picture")
    html = page(find([tmp_path]), "t")
    assert 'alt="Gates of lstm on copy, lag 100, seed 0 over time" src="data:image/png;base64,cGljdHVyZQ=="' in html
    Outline(html)


def test_records_without_curves_and_gradients_below_resolution():
    old = run() | {"learning_curve": [], "gradient_scalars": [], "command": None}
    old["gradient"][2]["log10_norm"] = None
    shown = charts(page([old], "t"))["Gradient over distance, lag 100: before and (dashed) after training"]
    assert shown["lines"][0]["ys"] == [-0.1, None, None]  # it ends there


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")
def test_pointing_at_a_chart_shows_values_and_a_click_sorts(tmp_path: Path):
    probe = """<script>
      window.onerror = message => { document.body.dataset.error = message; };
      const svg = document.querySelector("svg"), box = svg.getBoundingClientRect();
      svg.dispatchEvent(new PointerEvent("pointermove", {clientX: box.left + box.width * .98, clientY: box.top + 50}));
      document.body.dataset.tip = document.querySelector(".tip").textContent;
      const heads = [...document.querySelectorAll("th button")], body = heads[0].closest("table").tBodies[0];
      heads.find(head => head.textContent === "accuracy").click();
      document.body.dataset.first = body.rows[0].cells[1].textContent;
    </script></body>"""
    file = tmp_path / "page.html"
    file.write_text(page(grid(), "t").replace("</body>", probe), encoding="utf-8")
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", file.as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    (body,) = re.findall(r"<body([^>]*)>", dom)
    assert "data-error" not in body
    assert 'data-tip="trained and tested at lag (steps): 100lstm: 1rnn: 0.03chance: 0.125"' in body
    assert 'data-first="rnn"' in body


def test_a_report_needs_no_torch(tmp_path: Path):
    records.write(run(), tmp_path)
    code = (
        "import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__'); "
        "assert 'torch' not in sys.modules"
    )
    command = [
        sys.executable,
        "-c",
        code,
        str(ROOT / "scripts" / "report.py"),
        str(tmp_path),
        "--figures",
        str(tmp_path / "f"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "report.html").exists()
    assert {path.name for path in (tmp_path / "f").iterdir()} == {
        "gap.png",
        "gap.pdf",
        "table.md",
        "table.csv",
        "points.csv",
    }


def test_nothing_to_report(tmp_path: Path):
    command = [sys.executable, str(ROOT / "scripts" / "report.py"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (
        1,
        f"longlag: {tmp_path} holds no run: there is no record.json below it that can be read\n",
    )


def untested(**given: object) -> dict:
    return run(**given) | {"test": {}, "lag_curve": []}  # type: ignore[arg-type]


@pytest.mark.parametrize("lags", [(100,), (10, 100)])
def test_runs_without_a_test(lags: tuple[int, ...]):
    told = Outline(page([untested(lag=lag) for lag in lags], "tuning"))
    assert "These runs were not tested (eval.sequences=0)." in told.words["p"]
    assert not any("Accuracy against lag" in words or "Trained once" in words for words in told.words["figcaption"])
    both = page([untested(), untested(model="rnn", lag=300), run("gru")], "some")
    assert "Test accuracy at lag 100 (chance 0.125): gru 1.00 [0.99, 1.00]." in both


def test_runs_of_a_model_on_different_kernels():
    runs = [run(seed=0), run(seed=1), run("gru", seed=0), run("transformer")]
    for one, kernels in zip(runs, ("library", "native", "native"), strict=False):
        one["environment"] |= {"kernels": kernels}
    said = "copy: the runs of lstm used different kernels (library, native): their results are equal up to rounding"
    assert said in page(runs, "t")
    assert page(runs, "t").count("different kernels") == 1
    assert "different kernels" not in page(runs[1:], "t")


def test_tuned_values_at_an_edge_and_models_that_learned_nothing():
    runs = [run(), run("rnn"), run("gru")]
    how = {"file": "copy", "lag": 100, "learned": True, "at_edge": {}}
    runs[0]["config"] |= {"tuned": "copy", "tuning": how | {"at_edge": {"lr": "largest"}}}
    runs[1]["config"] |= {"tuning": how | {"learned": False}}
    shown = page(runs, "t")
    assert "copy: of these models tuning chose the largest lr that it tried: lstm. A wider grid might do" in shown
    assert "copy: tuning learned nothing with these models: rnn. They have their own settings." in shown
    for words in ("tuned=copy (largest lr tried)", "untuned: nothing learned", ">own<"):
        assert words in shown


def test_cores_of_one_size_are_not_called_unequal():
    runs = [run(), run("transformer")]
    for one, whole in zip(runs, (4417, 9999), strict=True):
        one["config"]["budget"] = one["config"]["budget"] | {"core_parameters": 4000}
        one["cost"] |= {"parameters": whole, "core_parameters": 4017}
    assert "differ in their parameters" not in page(runs, "t")
    runs[0]["cost"]["core_parameters"] = 3000
    assert "copy: the cores differ in their parameters, from 3,000 to 4,017." in page(runs, "t")


def test_models_that_were_not_tuned_beside_those_that_were():
    runs = [run(), run("rnn"), run("gru")]
    for one in runs[:2]:
        one["config"]["tuned"] = "copy"
    assert "copy: these models were tuned: lstm, rnn; these were not: gru." in page(runs, "t")
    assert "were tuned" not in page(runs[:2], "t")
    assert "were tuned" not in page(runs[2:], "t")
