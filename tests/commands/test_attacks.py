"""Hostile configurations, records, checkpoints and folders of sweeps: each is refused in one line, or not heeded.

None runs code, imports a module, sends anything, or touches a file outside of the run's folder; the table of all of
them is in helpers/attack_table.py, how they are watched in helpers/attack_watch.py.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.attack_table import TABLE
from helpers.places import ROOT


def test_the_table_is_whole():
    cases = [case for kind in TABLE.values() for case in kind]
    assert len(cases) >= 120
    assert len({case.name for case in cases}) == len(cases)


@pytest.mark.parametrize("kinds", [("configurations", "checkpoints"), ("records", "sweeps")], ids=" and ".join)
def test_nothing_comes_of_it(tmp_path: Path, kinds: tuple[str, ...]):
    done = subprocess.run(
        [sys.executable, "-m", "helpers.attack_watch", str(tmp_path), *kinds], cwd=tmp_path, capture_output=True,
        text=True, check=False, env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(ROOT / "tests")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    ran = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"name"')]
    cases = [case for kind in kinds for case in TABLE[kind]]
    assert [one["name"] for one in ran] == [case.name for case in cases]
    wrong = []
    for case, one in zip(cases, ran, strict=True):
        ended = "done" if case.said is None else "refused"
        if one["did"] or one["ended"] != ended or (case.said or "") not in one["said"]:
            wrong.append(f"{case.name}: {one['did']} {one['ended']} {one['said']}")
    assert not wrong, f"{len(wrong)} of {len(cases)}:\n" + "\n".join(wrong)
