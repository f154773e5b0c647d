"""One row per run: `record.json`. What it holds, what makes two runs the same, how it is read and written.

Reads every record that was ever written as one of today (`upgrade`), and needs no torch.
"""

from longlag.records.identity import begun_hash, config_hash
from longlag.records.schema import Record
from longlag.records.store import (
    FILE,
    LOCK,
    SAMPLE,
    WEIGHTS,
    accuracy_in_words,
    as_config,
    claimed,
    config_of,
    locked,
    new,
    now,
    read,
    recording,
    refuse_links_out,
    write,
)

__all__ = [
    "FILE",
    "LOCK",
    "SAMPLE",
    "WEIGHTS",
    "Record",
    "accuracy_in_words",
    "as_config",
    "begun_hash",
    "claimed",
    "config_hash",
    "config_of",
    "locked",
    "new",
    "now",
    "read",
    "recording",
    "refuse_links_out",
    "write",
]
