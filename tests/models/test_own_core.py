"""A core of your own: one Python file and one YAML, in any folder, through the whole command."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.command import TRAIN, compose
from longlag.assemble import make_network, make_task

CORE = '''
import torch
from torch import Tensor, nn


class Leaky(nn.Module):
    """Units that leak: h_t = a h_{t-1} + (1 - a) tanh(W x_t), each with a learned a of its own."""

    def __init__(self, input_size: int, hidden_size: int = 64):
        super().__init__()
        self.hidden_size = hidden_size  # the width of the outputs; the head asks for it
        self.candidate = nn.Linear(input_size, hidden_size)
        self.decay = nn.Parameter(torch.linspace(0.0, 5.0, hidden_size))  # a = sigmoid(decay)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, time, input_size) -> (batch, time, hidden_size)."""
        a, h, outputs = self.decay.sigmoid(), 0.0, []
        for candidate in self.candidate(x).tanh().unbind(1):
            h = a * h + (1 - a) * candidate
            outputs.append(h)
        return torch.stack(outputs, dim=1)
'''

YAML = """
# @package _global_
lr: 0.01
model:
  _target_: mycell.Leaky
  hidden_size: 16
"""

OVERRIDES = [
    *("model=leaky", "task=copy", "lag=8", "max_steps=40", "validation.every=20", "validation.sequences=64"),
    *("eval.sequences=32", "logger=csv", "hydra.run.dir=run"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mycell.py").write_text(CORE)
    (tmp_path / "myconf" / "model").mkdir(parents=True)
    (tmp_path / "myconf" / "model" / "leaky.yaml").write_text(YAML)
    return tmp_path


def test_whole_command(folder: Path):
    done = subprocess.run(
        [sys.executable, str(TRAIN), "--config-dir", "myconf", *OVERRIDES],
        cwd=folder, env=os.environ | {"PYTHONPATH": ".", "LONGLAG_ALLOW": "mycell"}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "leaky · copy · lag 8" in done.stdout
    record = json.loads((folder / "run" / "record.json").read_text())
    assert (record["status"], record["model"], record["cost"]["steps"]) == ("finished", "leaky", 40)
    assert record["cost"]["core_parameters"] == 18 * 16 + 16 + 16
    assert [point["lag"] for point in record["lag_curve"]] == [2, 4, 8, 16]
    written = {path.name for path in (folder / "run").iterdir()}
    assert written == {"record.json", "model.ckpt", "lag_curve.png", "gradient.png", "metrics.csv"}


def test_not_without_leave(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(folder)
    cfg = compose(f"hydra.searchpath=[file://{folder / 'myconf'}]", "model=leaky")
    with pytest.raises(ValueError, match=r"mycell\.Leaky is not allowed as a core: .* set LONGLAG_ALLOW=package"):
        make_network(cfg, make_task(cfg))
    monkeypatch.setenv("LONGLAG_ALLOW", "mycell")
    assert type(make_network(cfg, make_task(cfg)).core).__name__ == "Leaky"
