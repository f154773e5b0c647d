"""What stands in a record is text wherever it goes: in Markdown, in a spreadsheet, in a terminal."""

import csv
import io

import pytest

from helpers.made_up import run
from longlag.files import CONTROL, printable
from longlag.report import markdown, pivot, table

EVIL = ["=1+1", "+cmd|' /C calc'!A0", "-cmd()", "@SUM(A1)", "\tx", "\rx", '=HYPERLINK("x")']


@pytest.mark.parametrize("text", EVIL)
def test_a_spreadsheet_computes_nothing(text: str):
    (row,) = csv.DictReader(io.StringIO(markdown.comma_separated(["a"], [{"a": text}])))
    assert row["a"] == "'" + text.replace("\r", " ")
    written = list(csv.DictReader(io.StringIO(table.comma_separated(table.rows([run(model=text)])))))
    assert written[0]["model"].startswith("'")
    assert all(line["model"].startswith("'") for line in csv.DictReader(io.StringIO(table.points([run(model=text)]))))


@pytest.mark.parametrize("value", ["-1.5", "+2", "-.5", "lstm", "a=b", -1.5, None, "", "10/10"])
def test_numbers_and_names_stay_as_they_are(value: object):
    (row,) = csv.DictReader(io.StringIO(markdown.comma_separated(["a", "b"], [{"a": value, "b": 1}])))
    assert row["a"] == ("" if value is None else str(value))


def test_markdown_is_one_line_with_as_many_columns_as_it_has():
    evil = "a|b\n| c <img src=x onerror=alert(1)> & `d`"
    assert markdown.cell(evil) == "a\\|b \\| c &lt;img src=x onerror=alert(1)> & `d`"
    assert markdown.code(evil) == "`a\\|b \\| c <img src=x onerror=alert(1)> & 'd'`"
    for text in (table.markdown(table.rows([run(model=evil)])), table.by_lag([run(model=evil)]),
                 pivot.markdown(pivot.pivot([run(model=evil)], ["model"], ["seed"]))):  # fmt: skip
        lines = text.partition("\n\n")[0].splitlines()
        assert len(lines) == 3
        assert len({line.replace("\\|", "").count("|") for line in lines}) == 1


def test_printable():
    assert printable("a\x1b]0;t\x07b\n\tc\u202ed\x9be\r") == "a\ufffd]0;t\ufffdb\n\tc\ufffdd\ufffde\ufffd"
    assert not CONTROL.search("ordinary text, äöü, 漢字, \n and \t")
