"""Test the saved weights of a run at other lags: longlag evaluate RUN_FOLDER eval.lags=[10,100,1000].

Prints the table and the curve, and writes evaluation.json and evaluation.png beside the run's record, which is not
changed. conf/config.yaml explains `eval.lags` and `eval.sequences`; their defaults are the run's own values.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from longlag.files import shown, write_text
from longlag.settings import check

USAGE = "usage: longlag evaluate RUN_FOLDER [eval.lags=[10,100,1000]] [eval.sequences=256]"
OURS = ("eval.lags", "eval.sequences")


def main(words: Sequence[str]) -> None:
    """Load the network, test it, print the results and write them to files."""
    if {"-h", "--help"} & set(words):
        print(f"{__doc__}\n{USAGE}")
        return
    if not words or words[0].startswith("-") or "=" in words[0]:
        raise ValueError(f"no run folder was given; {USAGE}")
    folder = Path(words[0])
    from longlag import load, records
    from longlag.assemble import lags_to_test
    from longlag.measure.lags import over_lags
    from longlag.report import figures, summary
    from longlag.report.plot import save
    from longlag.stream import Seeds

    network, task, record = load(folder)
    cfg = with_overrides(records.config_of(record), words[1:])
    seeds, lags = Seeds(cfg.seed, cfg.stream), lags_to_test(cfg, task, network)
    curve = over_lags(network, task, lags, seeds, cfg.eval.sequences)
    evaluated = record.copy()
    evaluated["lag_curve"] = curve
    write_text(folder / "evaluation.json", json.dumps(curve, indent=1) + "\n")
    save(figures.lag_curve(evaluated), folder / "evaluation.png")
    console = Console()
    console.print(summary.lag_table(curve))
    summary.show_lag_curve(evaluated, console)
    console.print(f"written  {shown(folder / 'evaluation.json')}, evaluation.png", highlight=False)


def with_overrides(cfg: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """The configuration of the run with new values of `eval.*`. Raises ValueError for any other override."""
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        if override.key_or_group not in OURS:
            raise ValueError(f"{override.input_line}: only {' and '.join(OURS)} can be changed here")
        if override.is_sweep_override():
            raise ValueError(f"{override.input_line}: a list is written in brackets, as in eval.lags=[10,100]")
        OmegaConf.update(cfg, override.key_or_group, override.value())
    check(cfg)
    if not cfg.eval.sequences:
        raise ValueError("the run was made without test sequences; say how many, as in eval.sequences=256")
    return cfg
