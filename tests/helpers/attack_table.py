"""Hostile configurations, records, checkpoints and folders of sweeps; see attack_watch."""

import io
import json
import os
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from itertools import product
from typing import Any

import torch

from helpers.attack_watch import RUN, SMALL, Case, Place

EVIL = ("train", "--config-dir", "evil", *SMALL, "experiment=evil")
RESUME, SWEEP = ("train", "resume=stopped"), ("train", "resume=sweep")
NO_TARGET = "is not allowed"
SHELL = {  # `git` runs what it is told to watch its files with
    "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "core.fsmonitor", "GIT_CONFIG_VALUE_0": "touch {outside}/hit",
}  # fmt: skip
OURS = {  # what functions of ours would do, and others
    "a shell": {
        "_target_": "longlag.training.processes._rank",
        "rank": 0,
        "environments": [SHELL],
        "handlers": {},
        "errors": None,
        "function": {"_target_": "longlag.measure.cost._commit", "_partial_": True},
        "arguments": [],
    },
    "an import": {"_target_": "longlag.sweeps.clusters.needed", "module": "canary", "extra": "x"},
    "a folder": {"_target_": "longlag.tracking.wandb_runs.files_in", "folder": "{outside}/made"},
    "a download": {
        "_target_": "longlag.tasks.corpora.download",
        "url": "http://canary.invalid/x",
        "sha256": "0" * 64,
        "folder": "x",
    },
    "a foreign class": {"_target_": "canary.Core"},
    "a foreign function": {"_target_": "canary.touch"},
    "torch's shell": {"_target_": "torch.utils.collect_env.run", "command": "touch {outside}/hit"},
    "a pickle": {"_target_": "longlag.run.torch.load", "f": "evil.pickle", "weights_only": False},
    "through a module": {"_target_": "longlag.records.os.system", "command": "touch {outside}/hit"},
}
INSIDE, UNKNOWN = "not allowed among its arguments", "there is no such setting"


def filled(value: Any, place: Place) -> Any:
    """The value with the path of the folder outside in place of `{outside}`."""
    return json.loads(json.dumps(value).replace("{outside}", str(place.outside)))


def nested(node: dict[str, Any], group: str) -> dict[str, Any]:
    """What a place makes, and inside it what it must not make."""
    honest = {
        "model": {"_target_": "longlag.models.lstm.LSTM", "x": node},
        "task": {"_target_": "longlag.tasks.copy.Copy", "lag": 4, "x": node},
        "optimizer": {"_target_": "torch.optim.Adam", "_partial_": True, "x": node},
        "lag_mode": {"_target_": "longlag.lag_modes.Curriculum", "x": node},
        "trainer": {"_target_": "pytorch_lightning.Trainer", "accelerator": "cpu", "callbacks": [node]},
        "logger": {"csv": {"_target_": "pytorch_lightning.loggers.CSVLogger", "name": "", "x": node}},
    }
    return honest[group]


# --- configurations: YAML of somebody else's, or a command line


def evil(yaml: str, name: str = "experiment/evil.yaml") -> Callable[[Place], None]:
    """A folder of configuration with one file."""

    def prepare(place: Place) -> None:
        place.file("evil/experiment/evil.yaml", "# @package _global_\nseed: 1\n")
        place.file(f"evil/{name}", yaml)

    return prepare


def as_yaml(settings: dict[str, Any]) -> str:
    """JSON is YAML."""
    return "# @package _global_\n" + json.dumps(settings) + "\n"


def logging_to(handlers: Any = None, formatters: Any = None, filters: Any = None) -> dict[str, Any]:
    given = {"handlers": handlers, "formatters": formatters, "filters": filters}
    return {"hydra": {"job_logging": {name: value for name, value in given.items() if value}}}


def sweeping(plugin: str, settings: dict[str, Any]) -> dict[str, Any]:
    return {"hydra": {"mode": "MULTIRUN", plugin: settings}}


CALL = {"_target_": "canary.touch"}
PICKLES = {"_target_": "hydra.experimental.callbacks.PickleJobInfoCallback"}
FILE_HANDLER = {"class": "logging.FileHandler", "filename": "{outside}/target", "mode": "w"}
HYDRA = {
    "a callback": {"hydra": {"callbacks": {"e": CALL}}},
    "a callback of Hydra's": {"hydra": {"callbacks": {"e": PICKLES}}},
    "a callback behind an interpolation": {"hydra": {"callbacks": "${published}"}, "published": {"e": CALL}},
    "a log in a file elsewhere": logging_to(handlers={"console": FILE_HANDLER}),
    "a handler of its own": logging_to(handlers={"console": {"class": "canary.Handler"}}),
    "a handler from a factory": logging_to(handlers={"console": {"()": "canary.touch"}}),
    "a formatter from a factory": logging_to(formatters={"plain": {"()": "canary.touch"}}),
    "a formatter of its own": logging_to(formatters={"plain": {"class": "canary.Core"}}),
    "a filter from a factory": logging_to(filters={"f": {"()": "canary.touch"}}),
    "a stream from a module": logging_to(handlers={"console": {"stream": "ext://canary.stream"}}),
    "a format from a module": logging_to(formatters={"plain": {"format": "ext://canary.stream"}}),
    "a stream behind an interpolation": {
        **logging_to(handlers={"console": {"stream": "${published}"}}),
        "published": "ext://canary.stream",
    },
    "Hydra's own log elsewhere": {"hydra": {"hydra_logging": {"handlers": {"console": FILE_HANDLER}}}},
    "the environment": {
        "hydra": {"job": {"env_set": {"LONGLAG_ALLOW": "canary"}}},
        "model": {"_target_": "canary.Core"},
    },
    "the environment of git": {"hydra": {"job": {"env_set": SHELL}}},
    "a launcher's argument": sweeping("launcher", {"x": CALL}),
    "a launcher of its own": sweeping("launcher", CALL),
    "a sweeper's argument": sweeping("sweeper", {"params": {"seed": CALL}}),
    "a sweeper of its own": sweeping("sweeper", CALL),
    "a launcher behind an interpolation": sweeping("launcher", {"x": "${published}"}) | {"published": CALL},
}


def rerun(place: Place) -> None:
    (place.here / "evil.pickle").write_bytes(pickle.dumps(Reduced(os.system, f"touch {place.outside}/hit")))


def configurations() -> list[Case]:
    places = ("model", "task", "optimizer", "lag_mode", "trainer", "logger")
    inside = dict.fromkeys(places, INSIDE) | {"trainer": UNKNOWN}  # whose settings are known by name
    rows = [
        Case(f"YAML: {what} as {group}", EVIL, NO_TARGET, evil(as_yaml({group: node})))
        for (what, node), group in product(OURS.items(), places[:2])
    ]
    rows += [
        Case(f"YAML: {what} as {group}", EVIL, NO_TARGET, evil(as_yaml({group: OURS[what]})))
        for group, what in product(places[2:5], ("a foreign function", "a foreign class"))
    ]
    rows += [
        Case(f"YAML: {what} inside {group}", EVIL, said, evil(as_yaml({group: nested(OURS[what], group)})))
        for (group, said), what in product(inside.items(), ("an import", "a folder"))
    ]
    rows += [Case(f"YAML: {what}", EVIL, "hydra.", evil(as_yaml(settings))) for what, settings in HYDRA.items()]
    core, above = {"_target_": "canary.Core"}, "../../../outside"
    files = {
        "the file of a model": ("model=evil", evil(as_yaml({"lr": 1, "model": core}), "model/evil.yaml")),
        "what was tuned": ("tuned=evil", evil(json.dumps({"models": {"lstm": {"model": core}}}), "tuned/evil.yaml")),
    }
    rows += [
        Case(f"YAML: {what}", ("train", "--config-dir", "evil", "lag=4", word), NO_TARGET, prepare)
        for what, (word, prepare) in files.items()
    ]
    board = "+logger.x={_target_: pytorch_lightning.loggers.TensorBoardLogger, name: '{outside}/made'}"
    saving = "{_target_: pytorch_lightning.callbacks.ModelCheckpoint, dirpath: '{outside}/made'}"
    words = {
        "metrics elsewhere": (["logger.csv.name={outside}/made"], "not in the run's folder"),
        "metrics above": ([f"logger.csv.version={above}/made"], "not in the run's folder"),
        "a logger elsewhere": ([board], "logger"),
        "callbacks of Lightning": ([f"+trainer.callbacks=[{saving}]"], UNKNOWN),
        "packages to look in": (["hydra.searchpath=[pkg://canary]"], "but no packages"),
        "a log elsewhere": (["hydra/job_logging=default", f"hydra.job.name={above}/log"], "hydra.job.name"),
        "a text that never ends": (["task=text", "task.corpus=/dev/zero"], "is a device"),
        "a sweep with callbacks": (
            ["-m", "+hydra.callbacks.e={_target_: canary.touch}", "seed=0,1"],
            "hydra.callbacks",
        ),
    }
    rows += [Case(what, ("train", *SMALL, *given), said) for what, (given, said) in words.items()]
    return [
        *rows,
        Case("YAML: a python object", EVIL, "evil.yaml", evil("a: !!python/object/apply:canary.touch []\n")),
        Case("a configuration in a pickle", ("train", "--experimental-rerun=evil.pickle"), "pickle", rerun),
        Case("the same, in short", ("train", "--exp", "evil.pickle"), "pickle", rerun),
    ]


# --- records

TRAINER = {
    "accelerator": "cpu", "devices": 1, "num_nodes": 1, "strategy": "auto", "precision": "32-true",
    "gradient_clip_val": 1.0, "log_every_n_steps": 10,
}  # fmt: skip

OPENERS = {  # the door, and the run that it opens
    "load": (("load", "run"), "run"),
    "evaluate": (("evaluate", "run", "eval.lags=[4]"), "run"),
    "gates": (("gates", "run"), "run"),
    "resume": (RESUME, "stopped"),
}
READERS = {
    "table": ("table", "run"),
    "report": ("report", "run", "--figures", "figures"),
    "keep": ("keep", "run", "kept"),
}


def making(group: str, node: dict[str, Any], run: str = "run") -> Callable[[Place], None]:
    return lambda place: place.config(run, **{group: filled(node, place)})


def both(change: Callable[[Place, str], None]) -> Callable[[Place], None]:
    """The same change of both runs."""

    def prepare(place: Place) -> None:
        for run in ("run", "stopped"):
            change(place, run)

    return prepare


def text_from(corpus: str, sha256: str | None = None) -> Callable[[Place, str], None]:
    def change(place: Place, run: str) -> None:
        where = corpus.replace("{outside}", str(place.outside))
        os.mkfifo(place.here / f"{run}.fifo")
        node = {"_target_": "longlag.tasks.text.Text", "lag": 4, "corpus": where.replace("{run}", run), "sample": 0}
        place.config(run, task=node)
        place.record(run, data={"sha256": sha256} if sha256 else {})

    return change


def temporary(name: str) -> Callable[[Place], None]:
    """A link where a file is written first, before it takes its place."""
    return lambda place: place.link(f"run/.{os.getpid()}-{name}")


def in_wandb(place: Place, run: str) -> None:
    node = {
        "_target_": "longlag.tracking.logger.Wandb",
        "dir": str(place.outside / "made"),
        "project": "x",
        "mode": "online",
    }
    place.config(run, logger={"wandb": node | {"timeout": 1, "entity": None, "group": None, "tags": []}})


def secrets(place: Place, run: str) -> None:
    secret = "${oc.env:CANARY_SECRET}"
    place.config(run, published={"source": secret}, warmup_steps=0)
    place.record(run, error=secret, model=secret)


def huge(place: Place) -> None:
    with (place.here / "run" / "record.json").open("wb") as file:
        file.truncate(2**40)


def instead(make: Callable[[str], Any], name: str = "run/record.json") -> Callable[[Place], None]:
    """Something else in place of a file."""

    def prepare(place: Place) -> None:
        (place.here / name).unlink(missing_ok=True)
        make(str(place.here / name))

    return prepare


def changed(**groups: Any) -> Callable[[Place], None]:
    """Settings of the stopped run."""
    return lambda place: place.config("stopped", **filled(groups, place))


def linking(name: str, to: str = "target") -> Callable[[Place], None]:
    return lambda place: place.link(name, to)


def keeping(name: str, text: str) -> Callable[[Place], None]:
    return lambda place: place.file(name, text)


def records() -> list[Case]:
    everywhere = ("load", "resume")
    some = (("a shell", "task"), ("an import", "model"), ("a folder", "task"))
    rows = [
        Case(f"{door}: {what} as {group}", command, NO_TARGET, making(group, node, run))
        for (door, (command, run)), (what, node), group in product(OPENERS.items(), OURS.items(), ("model", "task"))
        if door in everywhere or (what, group) in some
    ]
    for door, group in product(everywhere, ("model", "task")):
        command, run = OPENERS[door]
        made = making(group, nested(OURS["an import"], group), run)
        rows.append(Case(f"{door}: an import inside {group}", command, INSIDE, made))
    rows += [
        Case(f"resume: {what} as {group}", RESUME, NO_TARGET, making(group, OURS[what], "stopped"))
        for group, what in product(("optimizer", "lag_mode"), ("a shell", "an import", "a foreign class"))
    ]
    rows += [  # nothing of these is made of a record
        Case(f"{door}: an import as {group}", OPENERS[door][0], None, making(group, OURS["an import"]))
        for door, group in product(("load", "evaluate", "gates"), ("optimizer", "lag_mode", "logger"))
    ]
    rows += [
        Case(f"{door}: a shell as task", command, None, making("task", OURS["a shell"]))
        for door, command in READERS.items()
    ]
    doors = {door: command for door, (command, _) in OPENERS.items()} | READERS
    rows += [Case(f"{door}: secrets", command, None, both(secrets)) for door, command in doors.items()]
    rows += [
        Case(f"{door}: a text from {what}", command, f"is {what}", both(text_from(corpus)))
        for door, (command, _) in OPENERS.items()
        for what, corpus in (("a device", "/dev/zero"), ("a named pipe", "{run}.fifo"))
    ]
    return rows + of_resuming() + of_links(doors)


def of_resuming() -> list[Case]:
    refused = {
        "a trainer elsewhere": {"trainer": {"default_root_dir": "{outside}"}},
        "callbacks": {"trainer": {"callbacks": [OURS["an import"]]}},
        "a logger of its own": {"logger": {"x": OURS["an import"]}},
    }
    csv = {"_target_": "pytorch_lightning.loggers.CSVLogger", "name": "{outside}/made", "version": ""}
    ignored = {
        "a trainer of its own": {"trainer": TRAINER | {"_target_": "canary.Core"}},
        "metrics elsewhere": {"logger": {"csv": csv}},
    }
    names = ("metrics.csv", ".lock", "last.ckpt", "x/y")
    return [
        *(Case(f"resume: {what}", RESUME, "not taken from a", changed(**one)) for what, one in refused.items()),
        *(Case(f"resume: {what}", RESUME, None, changed(**one)) for what, one in ignored.items()),
        *(Case(f"resume: {name} is a link", RESUME, "leads out of", linking(f"stopped/{name}")) for name in names),
    ]


def of_links(doors: dict[str, tuple[str, ...]]) -> list[Case]:
    """And of records that are none."""
    rows = [Case(f"{door}: W&B elsewhere", doors[door], None, both(in_wandb)) for door in ("gates", "evaluate")]
    for door, name in {"evaluate": "evaluation.json", "gates": "gates.png", "report": "report.html"}.items():
        rows.append(Case(f"{door}: a link where it writes first", doors[door], None, temporary(name)))
        rows.append(Case(f"{door}: a link where it writes", doors[door], None, linking(f"run/{name}")))
    load, none = doors["load"], "is not a record"
    shown = linking("run/gates.png", "private.txt")
    return [
        *rows,
        Case("report: the picture of the gates is a link", doors["report"], None, shown),
        Case("load: a record that is a link", load, none, instead(lambda path: os.symlink("/etc/hosts", path))),
        Case("load: a record that is a pipe", load, none, instead(os.mkfifo)),
        Case("load: a record that never ends", load, "larger than", huge),
        Case("load: a record that is deep", load, none, keeping("run/record.json", "[" * 10**6)),
        Case("load: no configuration", load, none, lambda place: place.record("run", config=[])),
        Case("keep: a name that leads out", doors["keep"], None, lambda place: place.record("run", model="../../x")),
    ]


# --- checkpoints


class Reduced:
    """Its pickle calls a function when it is read."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def pickled(call: tuple[str, str, tuple[Any, ...]]) -> bytes:
    """A pickle that imports a module, takes a name from it and calls it."""
    module, name, arguments = call
    return f"c{module}\n{name}\n".encode() + pickle.dumps(arguments, protocol=0)[:-1] + b"R."


CALLS: dict[str, tuple[str, str, tuple[Any, ...]]] = {
    "os.system": ("posix", "system", ("touch {outside}/hit",)),
    "os.mkdir": ("posix", "mkdir", ("{outside}/made",)),
    "eval": ("builtins", "eval", ("__import__('canary')",)),
    "exec": ("builtins", "exec", ("import canary",)),
    "a subprocess": ("subprocess", "call", (["touch", "{outside}/hit"],)),
    "an import": ("importlib", "import_module", ("canary",)),
    "a class": ("canary", "Core", ()),
    "torch's shell": ("torch.utils.collect_env", "run", ("touch {outside}/hit",)),
    "a function of ours": ("longlag.sweeps.clusters", "needed", ("canary", "x")),
    "opening a file": ("io", "open", ("{outside}/target", "w")),
}


def as_bytes(call: tuple[str, str, tuple[Any, ...]], place: Place) -> bytes:
    module, name, arguments = call
    return pickled((module, name, tuple(filled(list(arguments), place))))


def zipped(data: bytes, compression: int = zipfile.ZIP_STORED) -> bytes:
    """A checkpoint in torch's form with that pickle in it."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", compression) as archive:
        for name, content in (("data.pkl", data), ("byteorder", b"little"), ("version", b"3\n")):
            archive.writestr(f"archive/{name}", content)
    return target.getvalue()


def scripted(place: Place) -> bytes:
    target = io.BytesIO()
    torch.jit.save(torch.jit.trace(torch.nn.Identity(), torch.zeros(1)), target)
    return target.getvalue()


def in_tar(place: Place) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        content = as_bytes(CALLS["os.system"], place)
        for name in ("sys_info", "pickle", "storages", "tensors"):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return target.getvalue()


def bomb(place: Place) -> bytes:
    return zipped(b"\0" * 2**28, zipfile.ZIP_DEFLATED)


def checkpoint(name: str, content: Callable[[Place], bytes]) -> Callable[[Place], None]:
    """A file of a run that its record, as hostile as it, says nothing against."""

    def prepare(place: Place) -> None:
        (place.here / name).write_bytes(content(place))
        place.record(name.partition("/")[0], artifacts=[])

    return prepare


def values(**entries: Any) -> Callable[[Place], bytes]:
    def content(place: Place) -> bytes:
        target = io.BytesIO()
        torch.save(entries, target)
        return target.getvalue()

    return content


def as_weight(place: Place) -> bytes:
    return zipped(pickle.dumps({"state_dict": Reduced(os.mkdir, str(place.outside / "made"))}))


def form(call: tuple[str, str, tuple[Any, ...]], bare: bool) -> Callable[[Place], bytes]:
    return lambda place: as_bytes(call, place) if bare else zipped(as_bytes(call, place))


def checkpoints() -> list[Case]:
    forms = {f"{what}, in torch's form": form(call, bare=False) for what, call in CALLS.items()}
    forms |= {f"{what}, bare": form(CALLS[what], bare=True) for what in ("os.system", "eval", "an import")}
    forms |= {"a program of torch's": scripted, "an archive of old": in_tar, "a bomb": bomb, "a weight": as_weight}
    load, weights, last = ("load", "run"), "run/model.ckpt", "stopped/last.ckpt"
    rows = [Case(f"load: {what}", load, "does not hold the", checkpoint(weights, made)) for what, made in forms.items()]
    rows += [Case(f"resume: {what}", RESUME, None, checkpoint(last, made)) for what, made in forms.items()]
    odd = values(state_dict={"x": 1}, global_step="x", hyper_parameters={"_target_": "canary.Core"})
    rows.append(Case("load: what does not fit", load, "does not hold the weights", checkpoint(weights, odd)))
    makers = {"a pipe": os.mkfifo, "a folder": os.mkdir, "a device": lambda path: os.symlink("/dev/zero", path)}
    said = {"a pipe": None, "a folder": "Is a directory", "a device": "leads out of"}
    for what, make in makers.items():
        rows.append(Case(f"load: {what} for weights", load, "model.ckpt", instead(make, weights)))
        rows.append(Case(f"resume: {what} for a checkpoint", RESUME, said[what], instead(make, last)))
    return rows


# --- folders of sweeps


def begun_with(*words: str, hydra: tuple[str, ...] = ()) -> Callable[[Place], None]:
    def prepare(place: Place) -> None:
        kept = {"hydra": {"overrides": {"hydra": [*hydra, "hydra.mode=MULTIRUN"], "task": [*SMALL, "seed=0", *words]}}}
        place.file("sweep/multirun.yaml", json.dumps(kept))

    return prepare


LEFT_OUT = (  # none of it is heeded
    "+hydra.callbacks.e={_target_: canary.touch}",
    "+hydra.callbacks.e._target_=canary.touch",
    "hydra.searchpath=[pkg://canary]",
    "hydra.searchpath=['file://{outside}']",
    "+hydra.job.env_set.LONGLAG_ALLOW=canary",
    "hydra.job_logging.handlers.console.class=canary.Handler",
    "+hydra.job_logging.handlers.f={class: logging.FileHandler, filename: '{outside}/target', mode: w}",
    "hydra.hydra_logging.handlers.console.stream=ext://canary.stream",
    "hydra/job_logging=default",
    "hydra.run.dir={outside}",
    "hydra.sweep.dir={outside}/made",
    "hydra.sweep.subdir=../../outside/made",
    "hydra.output_subdir={outside}/made",
    "hydra.launcher._target_=canary.touch",
    "+hydra.launcher.x={_target_: canary.touch}",
    "hydra.sweeper._target_=canary.touch",
    "hydra.sweeper.params={seed: {_target_: canary.touch}}",
    "hydra/launcher=evil",
    "hydra/launcher=../../evil",
    "hydra.help.template=${oc.env:CANARY_SECRET}",
)
REFUSED = (  # not one word of such a command is heeded
    ("--experimental-rerun=evil.pickle", "not taken"),
    ("--config-dir=evil", "not taken"),
    ("--config-name=evil", "not taken"),
    ("-cd=evil", "not taken"),
    ("experiment=../../../evil/experiment/evil", "not taken"),
    ("tuned=../../evil", "not taken"),
    ("+experiment/../../evil=evil", "not taken"),
    ("+model@hydra.callbacks.e=lstm", "not taken"),
    ("published={source: '${oc.env:CANARY_SECRET}'}", "not taken"),
    ("published={source: $\\{oc.env:CANARY_SECRET\\}}", "not taken"),
    ("published={source: '${hydra:runtime.cwd}'}", "not taken"),
    ("published={source: '${oc.decode:x}'}", "not taken"),
    ("logger.wandb.dir={outside}/made", "decides where files are written"),
    ("logger.wandb={dir: '{outside}/made'}", "decides where files are written"),
    ("+tune={to: '{outside}/made'}", "decides where files are written"),
    ("seed=[[[", "is not an override"),
)
TARGETS = {  # refused where they are made
    "model._target_=canary.Core": NO_TARGET,
    "task._target_=canary.Core": NO_TARGET,
    "optimizer._target_=longlag.sweeps.clusters.needed": NO_TARGET,
    "lag_mode._target_=canary.touch": NO_TARGET,
    "trainer._target_=canary.Core": NO_TARGET,
    "logger.csv._target_=longlag.tracking.wandb_runs.files_in": NO_TARGET,
    "+model.x={_target_: canary.touch}": INSIDE,
    "+task.x=[{a: {_target_: canary.touch}}]": INSIDE,
    "logger.csv.name={outside}/made": "not in the run's folder",
}
BROKEN = {
    "python": "hydra: !!python/object/apply:canary.touch []\n",
    "an object": "!!python/name:canary.touch ''\n",
    "deep": "[" * 50_000,
    "large": "x" * 2**20,
    "laughs": "a0: &a0 [x]\n" + "".join(f"a{n + 1}: &a{n + 1} [{f'*a{n},' * 9}]\n" for n in range(9)),
    "words that are none": "hydra: {overrides: {hydra: [{a: b}], task: []}}\n",
    "nothing": "",
}


def holding(word: str, hydra: bool, *more: str) -> Callable[[Place], None]:
    """A command with a word among those of Hydra's or of the run's; a callback and a pickle lie ready for it."""

    def prepare(place: Place) -> None:
        rerun(place)
        evil(as_yaml(HYDRA["a callback"]))(place)
        there = filled(word, place)
        begun_with(*more, *([] if hydra else [there]), hydra=(there,) if hydra else ())(place)

    return prepare


def sweeps() -> list[Case]:
    rows = [
        Case(f"{'hydra' if hydra else 'task'}: {word}", SWEEP, None, holding(word, hydra))
        for number, word in enumerate(LEFT_OUT)
        for hydra in ({True, False} if number < 3 else {True})
    ]
    rows += [Case(word, SWEEP, said, holding(word, False)) for word, said in REFUSED]
    rows += [Case(word, SWEEP, said, holding(word, False, "seed=5")) for word, said in TARGETS.items()]
    kept, no_command = "sweep/multirun.yaml", "does not hold the command"
    rows += [Case(f"a command that is {what}", SWEEP, no_command, keeping(kept, text)) for what, text in BROKEN.items()]
    rows += [
        Case(f"{name} is a link", SWEEP, "leads out of", linking(f"sweep/{name}"))
        for name in ("multirun.yaml", "report.html", f"{RUN}/output.log", f"{RUN}/metrics.csv", "other")
    ]
    given = ("train", "-m", "resume=sweep", *SMALL, "seed=0")
    published = ("verify", "--resume", "sweep", "--to", "kept")
    return [
        *rows,
        Case("a run of the sweep is a link", SWEEP, "leads out of", linking("sweep/1_x", "")),
        Case("a link, with the grid given", given, "leads out of", linking(kept)),
        Case("a search", ("horizon", "resume=sweep"), None, begun_with(LEFT_OUT[0])),
        Case(
            "published values", published, "holds a sweep of other experiments", begun_with("experiment=${oc.env:HOME}")
        ),
    ]


TABLE = {
    "configurations": configurations(),
    "records": records(),
    "checkpoints": checkpoints(),
    "sweeps": sweeps(),
}
