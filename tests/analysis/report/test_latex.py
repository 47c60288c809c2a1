"""LaTeX: compiled where there is a compiler, else read by its rules."""

import re
import shutil
import subprocess

import pytest
from example_report import example
from hypothesis import given
from hypothesis import strategies as st

from lmlab.analysis.report import figures, latex
from lmlab.analysis.report.document import Column, Table


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("latex")
    latex.write(example(), folder)
    return folder


def test_environments_and_braces_balance_and_nothing_special_is_bare(folder):
    for path in (folder / "tables").glob("*.tex"):
        needs, _, text = path.read_text().partition("\n")
        assert needs.startswith("% needs")
        open_environments = []
        for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", text):
            if kind == "begin":
                open_environments.append(name)
            else:
                assert open_environments.pop() == name
        assert open_environments == []
        bare = re.sub(r"\\(?:[a-zA-Z]+|.)", "", text)
        depth = 0
        for character in bare:
            depth += {"{": 1, "}": -1}.get(character, 0)
            assert depth >= 0
        assert depth == 0
        assert not re.search(r"[#~_]", re.sub(r"tab:[\w-]+", "", bare))
        assert not re.search(r"%(?!\n)", bare)
        assert all(c.isascii() or "\u00c0" <= c <= "\u00ff" for c in text)


def test_every_table_of_the_report_is_a_file(folder):
    tables = [part for section in example().sections for part in section.parts if isinstance(part, Table)]
    assert {path.stem for path in (folder / "tables").iterdir()} == {table.name for table in tables}
    assert [path.name for path in folder.iterdir()] == ["tables"]


def test_tables_are_those_of_booktabs_with_as_many_cells_as_columns(folder):
    text = (folder / "tables" / "results.tex").read_text()
    assert re.findall(r"\\(\w+rule)", text) == ["toprule", "midrule", "bottomrule"]
    assert r"\begin{tabular}{lrrrrrrr}" in text
    rows = [line for line in text.splitlines() if line.endswith(r" \\")]
    assert [len(re.split(r"(?<!\\)&", row)) for row in rows] == [8] * 6
    assert rows[3].startswith(r"mamba2 & 5 & \textbf{1.455 [1.442, 1.468]} & $-$0.027 [$-$0.041, $-$0.013]")
    assert r"\label{tab:results}" in text


def test_a_table_of_many_rows_goes_over_pages():
    text = latex.table(Table("runs", "t", [Column("a"), Column("b", "s")], [["[x", i] for i in range(41)]), "runs")
    assert r"\begin{longtable}{lr}" in text
    assert text.index(r"\endhead") < text.index(r"{[}x & 0 \\")


# What LaTeX prints for each command that escaping writes.
PRINTED = {
    r"\textbackslash{}": "\\", r"\{": "{", r"\}": "}", r"\$": "$", r"\&": "&", r"\#": "#", r"\%": "%",
    r"\_": "_", r"\textasciicircum{}": "^",
    r"\textasciitilde{}": "~", r"\textless{}": "<", r"\textgreater{}": ">", r"\textbar{}": "|", r"\textquotedbl{}": '"',
    r"\textquotesingle{}": "'", r"\textasciigrave{}": "`", "{[}": "[", "{*}": "*", "-{}-": "--", ",{},": ",,",
}  # fmt: skip


@given(st.text(alphabet=[chr(c) for c in range(0x20, 0x7F)], max_size=60))
def test_every_character_of_ascii_prints_as_itself(text):
    commands = re.compile("|".join(re.escape(command) for command in PRINTED) + "|-{}|,{}")
    escaped = latex.escaped(text)
    assert commands.sub(lambda match: PRINTED.get(match[0], match[0][0]), escaped) == text
    assert not re.search(r"--|,,|[#$%&_^~<>|\"'`]", commands.sub("", escaped))


PAPER = r"""\documentclass{article}
\usepackage[T1]{fontenc}\usepackage[utf8]{inputenc}
\usepackage{booktabs,graphicx,longtable,textcomp}
\begin{document}
INPUTS
\end{document}
"""


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_a_paper_that_includes_the_tables_and_figures_compiles(folder):
    figures.write(example(), folder, ["pdf"])
    inputs = [rf"\input{{tables/{path.name}}}" for path in (folder / "tables").iterdir()]
    inputs += [rf"\includegraphics{{figures/{path.name}}}" for path in (folder / "figures").iterdir()]
    (folder / "paper.tex").write_text(PAPER.replace("INPUTS", "\n\n".join(inputs)))
    for _ in range(2):
        subprocess.run(
            ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"],
            cwd=folder,
            check=True,
            timeout=120,
        )
    assert (folder / "paper.pdf").read_bytes().startswith(b"%PDF")
