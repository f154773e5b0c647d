"""The help of `longlag train`: the choices, and every setting with the comment beside it in its YAML file."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from longlag.commands.errors import GROUPS, composed, own_folders
from longlag.settings import CONF, program

COMMENT = re.compile(r"\s# (.*)$")
COLUMN = 30  # where comments begin

ABOUT = {
    "model": "the core; `longlag list models` says what each is",
    "task": "what must be remembered over `lag` steps; `longlag list tasks`",
    "experiment": "several choices under one name; `longlag list experiments`",
    "lag_mode": "the lag of the training sequences",
    "trainer": "where the run computes; auto takes an NVIDIA GPU if there is one",
    "tuned": "the settings that experiment=tune chose for each model on a task",
    "logger": "where the metrics go; wandb works offline too, and record.json is written in any case",
}


def text(words: Sequence[str]) -> str:
    """The help, with the settings as they are for the choices among the words of the command."""
    cfg = composed(words, hydra_too=True)
    choices = {name: str(choice) for name, choice in cfg.hydra.runtime.choices.items() if name in GROUPS}
    comments = _comments(choices, [Path(folder) for folder in own_folders(words)])
    command = program()
    lists = "\n".join(f"  {group:<11}{', '.join(_names(group))}\n{'':13}{about}" for group, about in ABOUT.items())
    return f"""{command}: train one run, or a sweep over several.

  {command} model=lstm task=copy lag=1000             one run
  {command} -m model=rnn,lstm,gru lag=10,100,1000     a sweep: every combination
  {command} resume=FOLDER                             resume a run or a sweep that was stopped

Choose one of each (group=name):

{lists}

Every setting can be given as key=value, such as model.hidden_size=128. With these choices they are:

{chr(10).join(_settings(cfg, comments))}

  --cfg job         show the configuration and stop        --config-dir DIR  find your own YAML files there
  --multirun, -m    sweep over several values: lag=10,100
"""


def first_comment(path: Path) -> str:
    """The first comment of a YAML file, which says what it is; empty if there is none."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return next((line[2:] for line in lines if line.startswith("# ") and "@package" not in line), "")


def _names(group: str) -> list[str]:
    """The choices of a group. Choices in subfolders, such as the published values, have a list of their own."""
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def _settings(cfg: DictConfig, comments: dict[str, str], prefix: str = "", indent: str = "") -> Iterator[str]:
    """A line for each setting."""
    for name in map(str, cfg):
        key = f"{prefix}{name}"
        if key == "hydra" or name.startswith("_"):
            continue
        node: Any = cfg._get_node(name)
        group = OmegaConf.is_dict(node) and not node._is_none() and not node._is_missing()
        value = "" if group else f" {_plain(node)}"
        line = f"{indent}{name}:{value}"
        yield f"{line.ljust(COLUMN - 1)} # {comments[key]}" if key in comments else line
        if group:
            yield from _settings(node, comments, f"{key}.", indent + "  ")


def _plain(node: Any) -> str:
    """The value as YAML writes it, interpolations unresolved."""
    value = OmegaConf.to_container(node, resolve=False) if OmegaConf.is_config(node) else node._value()
    return yaml.safe_dump(value, default_flow_style=True, width=10**6).removesuffix("...\n").strip()


def _comments(choices: dict[str, str], own: Sequence[Path]) -> dict[str, str]:
    """The comment beside each setting, by its dotted name."""
    found = _beside(CONF / "config.yaml", "")
    for group, choice in choices.items():
        for folder in (CONF, *own):
            found |= _of_choice(folder / group, choice, group)
    return found


def _of_choice(folder: Path, choice: str, group: str) -> dict[str, str]:
    """The comments of a choice and of those that it builds on: its `defaults` in the same group."""
    path = folder / f"{choice}.yaml"
    if not path.is_file():
        return {}
    content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    bases = [base for base in content.get("defaults", []) if isinstance(base, str) and base != "_self_"]
    found: dict[str, str] = {}
    for base in bases:
        found |= _of_choice(folder, base, group)
    is_global = "@package _global_" in path.read_text(encoding="utf-8")
    return found | _beside(path, "" if is_global else f"{group}.")


def _beside(path: Path, prefix: str) -> dict[str, str]:
    """The comments of one file, by the dotted names of the settings on the same line."""
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()

    def walk(node: yaml.Node | None, prefix: str) -> Iterator[tuple[str, str]]:
        for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
            if found := COMMENT.search(lines[key.start_mark.line]):
                yield f"{prefix}{key.value}", found[1]
            yield from walk(value, f"{prefix}{key.value}.")

    return dict(walk(yaml.compose(text), prefix))
