"""The record of a run, `record.json`: its schema, the identity of a run, and how records are read and written.

Records of every earlier schema are read as records of the current one (`upgrade`). Needs no torch.
"""

from longlag.records.identity import begun_hash, config_hash
from longlag.records.schema import Record
from longlag.records.store import (
    FILE,
    LOCK,
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
