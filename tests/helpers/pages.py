"""What the pages for readers hold: commands, blocks of Python, files to write down, headings and links."""

import re
from pathlib import Path
from typing import NamedTuple

from helpers.places import ROOT

PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")),
]
TEXTS = {page: (ROOT / page).read_text(encoding="utf-8") for page in sorted(PAGES)}
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"^ {4}(.*)$", re.MULTILINE)
INLINE = re.compile(r"`([^`]+)`")
PROGRAM = re.compile(
    r"(?:[A-Z_]+=\S+ )*(?:longlag|python|pip|make|conda|git|wandb|torchrun|%pip) [^…]+"
)  # not `longlag X …`
NAMED = re.compile(r"`((?!tests/)[\w./-]+\.(?:py|yaml))`[^`]*^```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Command(NamedTuple):
    """A command line and the page that it is on."""

    page: str
    line: str


def commands(text: str) -> list[str]:
    """The command lines of a page: indented ones without their comment, and those that a sentence names."""
    bare = FENCED.sub("", text)
    lines = [re.sub(r"(^|\s+)#\s.*", "", line).strip() for line in INDENTED.findall(bare)]
    inline = [" ".join(words.split()) for words in INLINE.findall(INDENTED.sub("", bare))]
    return [line for line in lines if line] + [words for words in inline if PROGRAM.fullmatch(words)]


def python_blocks(text: str) -> list[str]:
    """The blocks of Python of a page that are not files to write down."""
    files = {content for _, content in NAMED.findall(text)}
    return [block for language, block in FENCED.findall(text) if language == "python" and block not in files]


def write_files(text: str, folder: Path) -> None:
    """Write the files that a page tells its readers to write."""
    for name, content in NAMED.findall(text):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")


def links(text: str) -> list[str]:
    """The targets of the links and pictures of a page."""
    return re.findall(r"\]\(([^)\s]+)\)", FENCED.sub("", text))


def anchors(text: str) -> set[str]:
    """The anchors of the headings of a page, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


COMMANDS = [
    Command(page, line) for page in TEXTS if page != "CHANGELOG.md" for line in dict.fromkeys(commands(TEXTS[page]))
]
