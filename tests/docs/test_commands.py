"""Every command and every block of Python on the pages is run, composed, or named as one that is not tested here."""

import os
import re
import shlex
import subprocess
import sys
from contextlib import nullcontext
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest

import longlag
from helpers.command import compose, overrides_of
from helpers.pages import COMMANDS, TEXTS, Command, anchors, links, python_blocks, write_files
from helpers.places import ROOT
from longlag.cli import COMMANDS as SUBCOMMANDS
from longlag.cli import main
from longlag.commands.horizon import translated
from longlag.resume import RunPlan
from longlag.settings import CONF, check

SMALL = ["max_steps=2", "validation.every=1", "validation.sequences=4", "eval.sequences=4", "logger=none"]
NOT_HERE = {  # how the command begins: why it is not run here
    "make": "it sets up an environment; only the target is looked up",
    ". .venv/bin/activate": "of the environment that make sets up",
    "conda": "conda is not tested here",
    "pip install": "it needs a package index; tests/test_packaging.py installs the wheel",
    "%pip": "Colab is not tested here",
    "import longlag": "Colab is not tested here",
    "longlag.train(": "Colab is not tested here; tests/test_api.py trains from Python",
    "git clone": "it needs the address of the repository",
    "REPOSITORY=": "a place for that address",
    "wandb": "it needs an account",
    "torchrun": "it needs two machines",
    "ruff": "make lint runs it",
    "mypy": "make lint runs it",
    "python -m pytest": "it would run these tests; only the paths are looked up",
    "python benchmarks/": "it takes minutes; only the path is looked up",
    "python tools/": "it writes into docs/; other tests compare what it would write, and the path is looked up",
    "longlag verify": "it takes minutes or more; only the names are looked up",
    "longlag report outputs/SWEEP_FOLDER --wandb": "it needs an account; tests/report has a server",
    "longlag gates RUN_FOLDER --wandb": "it needs an account",
}
RUN = ("table", "report", "evaluate", "gates", "list", "verify")
SLOW = ("longlag verify --list",)  # it composes every preset
DOWNLOADS = "experiment=tiny_shakespeare"  # it downloads its text


def bare(line: str) -> str:
    """The command without the variables that are set before it."""
    return re.sub(r"^(?:[A-Z_]+=\S+ +)+(?=\S)", "", line)


def words_of(line: str) -> list[str]:
    return shlex.split(bare(line))


def is_help(line: str) -> bool:
    return line.startswith("longlag ") and words_of(line)[-1] in ("--help", "--version")


def kind(line: str) -> str:
    """run, complete, compose, search or not here; an empty text if the command is in no category."""
    words = words_of(line)
    if line.startswith("eval "):
        return "complete"
    if any(bare(line).startswith(beginning) for beginning in NOT_HERE) and words != ["longlag", "verify", "--list"]:
        return "not here"
    if is_help(line) or words[:2] in [["longlag", name] for name in RUN]:
        return "run"
    if words[:2] == ["longlag", "horizon"]:
        return "search"
    if words[:2] in (["longlag", "train"], ["python", "train.py"]):
        return "compose"
    return ""


def of(*kinds: str) -> pytest.MarkDecorator:
    chosen = [command for command in COMMANDS if kind(command.line) in kinds]
    assert chosen
    marks = [[pytest.mark.slow] if one.line in SLOW else [] for one in chosen]
    ids = [f"{one.page}:{one.line}"[:70] for one in chosen]
    cases = [pytest.param(one, marks=mark, id=name) for one, mark, name in zip(chosen, marks, ids, strict=True)]
    return pytest.mark.parametrize("command", cases)


def test_every_command_is_in_a_category():
    assert [command for command in COMMANDS if not kind(command.line)] == []
    assert {page for page, _ in COMMANDS} >= {"README.md", "docs/usage.md", "docs/clusters.md", "CONTRIBUTING.md"}
    assert sum(kind(line) in ("run", "compose") for _, line in COMMANDS) > 50


def test_every_reason_is_needed():
    lines = [bare(command.line) for command in COMMANDS]
    assert [beginning for beginning in NOT_HERE if not any(line.startswith(beginning) for line in lines)] == []


@pytest.mark.parametrize("line", ["longlg train", "python scripts/horizons.py", "longlag tables X", "curl x | sh"])
def test_a_command_in_no_category_would_be_noticed(line: str):
    assert kind(line) == ""


@of("not here")
def test_what_it_names_is_there(command: Command):
    words = words_of(command.line)
    if words[0] == "make":
        target = words[1]
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    elif words[0] == "python":
        for path in (word for word in words if "/" in word):
            assert (ROOT / path).exists(), path
    elif words[:2] == ["longlag", "verify"]:
        for name in words[2:]:
            assert (CONF / "experiment" / "published" / f"{name}.yaml").exists(), name
    elif words[0] == "pip" and "-r" in words:
        assert (ROOT / words[-1]).exists()
    elif words[0] == "pip" and (extra := re.search(r"longlag\[(\w+)\]", command.line)):
        assert f"\n{extra[1]} = [" in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


@of("compose")
def test_it_composes(command: Command, tmp_path: Path):
    if is_help(command.line):
        return
    write_files(TEXTS[command.page], tmp_path)
    check(compose(*overrides_of(command.line, tmp_path)))


def test_a_wrong_command_would_be_noticed(tmp_path: Path):
    with pytest.raises(Exception, match="lstn"):
        compose(*overrides_of("X=1 longlag train -m model=lstn,gru lag=10  # a comment", tmp_path))
    for line in ("longlag train -m lag=10,30 'seed=range(2,5)'", "python train.py -m lag=10,30 'seed=range(2,5)'"):
        assert overrides_of(line, tmp_path) == ["lag=10", "seed=2"]


@pytest.mark.slow
@of("compose")
def test_it_trains(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Two steps of the first run of it, at the lag that it names but at most 30."""
    from longlag.run import run

    if "resume=" in command.line or DOWNLOADS in command.line or "trainer" in command.line:
        pytest.skip("it needs a run, a download or several devices; other tests resume, download and start processes")
    write_files(TEXTS[command.page], tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("LONGLAG_ALLOW", "mylab,mycell")
    cfg = compose(*overrides_of(command.line, tmp_path), *SMALL)
    lag = min(cfg.lag, 30)
    words = [word for word in overrides_of(command.line, tmp_path) if not word.startswith("lag=")]
    cfg = compose(*words, f"lag={lag}", f"eval.lags=[{lag}]", *SMALL)
    assert run(RunPlan(cfg, tmp_path / "run", "model", "task"))["status"] == "finished"


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the runs that the pages speak of: RUN_FOLDER, SWEEP_FOLDER and outputs/SWEEP_FOLDER."""
    from longlag.run import run

    folder = tmp_path_factory.mktemp("done")
    for seed in (0, 1):
        cfg = compose("model=lstm", "lag=4", f"seed={seed}", "model.hidden_size=4", "eval.lags=[4]", *SMALL)
        run(RunPlan(cfg, folder / "outputs" / "SWEEP_FOLDER" / str(seed), "lstm", "copy"))
    (folder / "SWEEP_FOLDER").symlink_to(folder / "outputs" / "SWEEP_FOLDER")
    (folder / "RUN_FOLDER").symlink_to(folder / "outputs" / "SWEEP_FOLDER" / "0")
    return folder


@of("run")
def test_it_runs(command: Command, done: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    monkeypatch.chdir(done)
    words = words_of(command.line)[1:]
    lags = [f"eval.lags=[{word.count(',') + 3}]" if word.startswith("eval.lags") else word for word in words]
    for name in SUBCOMMANDS if "COMMAND" in words else [""]:
        given = [name or word if word == "COMMAND" else word for word in lags]
        monkeypatch.setattr(sys, "argv", ["longlag", *given])
        ended = nullcontext()
        if is_help(command.line) and name in ("table", "report", "gates", "verify", "list"):
            ended = pytest.raises(SystemExit, match="0")  # argparse ends --help in this way
        with ended:
            main(given)
    assert capsys.readouterr().out
    for option, path in pairwise(words):
        if option in ("--figure", "--figures"):
            assert (done / path).exists()


@of("search")
def test_a_search_composes(command: Command, tmp_path: Path):
    words = translated(words_of(command.line)[2:])
    check(compose(*overrides_of(shlex.join(["longlag", "train", *words]), tmp_path)))


@pytest.mark.slow
@of("search")
def test_it_searches(command: Command, tmp_path: Path):
    words = [*words_of(command.line)[1:], "first_lag=4", "max_lag=8", "trials=2", "budget.sequences=64", "logger=none"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-m", "longlag", *words], cwd=tmp_path, env=environment, check=True)
    assert len(list(tmp_path.rglob("horizon.json"))) == 1


@of("complete")
def test_the_shell_takes_it(command: Command, tmp_path: Path):
    """The installed command has the name `longlag`; here a file of this name stands for it."""
    script = tmp_path / "longlag"
    script.write_text(f"#!{sys.executable}\nfrom longlag.cli import main\nmain()\n", encoding="utf-8")
    script.chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    words = ["bash", "-c", f"{command.line}; complete -p longlag"]
    said = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    assert said.stdout.endswith(" longlag\n")


BLOCKS = [(page, block) for page, text in TEXTS.items() for block in python_blocks(text)]


def execute(page: str, block: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_files(TEXTS[page], folder)
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    exec(compile(block, page, "exec"), {"__name__": "__main__"})


def test_there_are_blocks():
    assert [page for page, _ in BLOCKS] == ["README.md", "docs/tutorial.md", "docs/usage.md"]


@pytest.mark.parametrize(("page", "block"), BLOCKS, ids=[page for page, _ in BLOCKS])
def test_python(page: str, block: str, done: Path, monkeypatch: pytest.MonkeyPatch):
    """With few steps; of a sweep of models with a name the first run only, in this process."""
    small = {"max_steps": 2, "validation": {"every": 1, "sequences": 4}, "eval": {"sequences": 4}}
    train, sweep = longlag.train, longlag.sweep

    def few(model, *arguments, **values):
        if isinstance(model, list):
            return longlag.find(train(model[0], lag=values["lag"][0], seed=values["seed"][0], **small).folder)
        return sweep(model, *arguments, **values, **small)

    monkeypatch.setattr(longlag, "train", partial(train, **small))
    monkeypatch.setattr(longlag, "sweep", few)
    execute(page, block, done, monkeypatch)


@pytest.mark.slow
def test_python_of_the_readme_as_it_stands(tmp_path: Path):
    (block,) = (block for page, block in BLOCKS if page == "README.md")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"}
    subprocess.run([sys.executable, "-c", block], cwd=tmp_path, env=environment, check=True)
    assert (tmp_path / "gap.png").exists()
    assert len(list(tmp_path.rglob("record.json"))) == 1 + 2 * 2 * 2 + 2


@pytest.mark.parametrize("page", TEXTS)
def test_links_resolve(page: str):
    for link in links(TEXTS[page]):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), link
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target.read_text(encoding="utf-8")), link


def test_there_are_anchors():
    assert sum("#" in link for text in TEXTS.values() for link in links(text)) > 20


def test_the_address_of_the_repository_stands_in_one_place():
    assert sum(text.count("HOST/OWNER") for text in TEXTS.values()) == 1


def test_the_readme_is_short_and_links_every_page():
    assert len(TEXTS["README.md"].splitlines()) <= 120
    there = set(links(TEXTS["README.md"]))
    wanted = {f"docs/{path.name}" for path in (ROOT / "docs").iterdir() if path.suffix in (".md", ".ipynb")}
    assert wanted | {"CONTRIBUTING.md", "CHANGELOG.md", "CITATION.cff"} <= there
