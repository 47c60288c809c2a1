"""The tables of a report as LaTeX, each a file that a paper includes with ``\\input``.

They are written for pdfLaTeX, XeLaTeX and LuaLaTeX, with ``booktabs``, ``longtable``, ``graphicx`` and ``textcomp``.
Characters that pdfLaTeX's fonts lack are written as their code points.
"""

from pathlib import Path

from lmlab.analysis.report import cells
from lmlab.analysis.report.cells import clipped
from lmlab.analysis.report.document import Document, Table, placed

_LONG = 40  # rows; a longer table runs over several pages
_WIDE = 40  # characters; a column with a longer text is set as a paragraph
_ESCAPES = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\textquotedbl{}", "'": r"\textquotesingle{}", "`": r"\textasciigrave{}",
    "\t": r"\ \ \ \ ", "\xa0": "~", "–": r"\textendash{}", "—": r"\textemdash{}", "−": "$-$", "×": r"$\times$",
    "±": r"$\pm$", "÷": r"$\div$", "·": r"$\cdot$", "∞": r"$\infty$", "≤": r"$\leq$", "≥": r"$\geq$",
    "≈": r"$\approx$", "≠": r"$\neq$", "↓": r"$\downarrow$", "↑": r"$\uparrow$", "→": r"$\rightarrow$",
    "…": r"\ldots{}", "‘": "`{}", '’': "'{}", "“": r"\textquotedblleft{}", "”": r"\textquotedblright{}",
    "⟨": r"$\langle$", "⟩": r"$\rangle$", "α": r"$\alpha$", "β": r"$\beta$", "σ": r"$\sigma$", "μ": r"$\mu$",
    "Δ": r"$\Delta$", "²": "$^2$", "³": "$^3$", "°": r"$^\circ$",
}  # fmt: skip
_PACKAGES = "% needs \\usepackage{booktabs,graphicx,longtable,textcomp} and, with pdfLaTeX, \\usepackage[T1]{fontenc}\n"


def write(document: Document, folder: Path) -> None:
    """Write ``tables/<name>.tex``; ``figures.write`` writes the figures beside them as PDF files."""
    (folder / "tables").mkdir(parents=True, exist_ok=True)
    for _, _, parts in placed(document):
        for place in parts:
            if isinstance(place.part, Table):
                text = _PACKAGES + table(place.part, place.name)
                (folder / "tables" / f"{place.name}.tex").write_text(text, encoding="utf-8")


def table(part: Table, label: str) -> str:
    """Return a table with booktabs, at most as wide as the line; one with many rows runs over pages."""
    numeric = cells.numeric(part)
    forms = "".join(
        "r" if is_number else "p{0.3\\linewidth}" if _wide(part, i) else "l" for i, is_number in enumerate(numeric)
    )
    heading = " & ".join(_line(column.heading) for column in part.columns) + r" \\"
    if any(column.unit for column in part.columns):
        heading += "\n" + " & ".join(_line(column.unit) for column in part.columns) + r" \\"
    rows = []
    for index, row in enumerate(part.rows):
        texts = [_line(cells.written(cell, column)) for cell, column in zip(row, part.columns, strict=True)]
        best = [index in column.best for column in part.columns]
        rows.append(" & ".join(rf"\textbf{{{t}}}" if bold else t for bold, t in zip(best, texts, strict=True)) + r" \\")
    caption = rf"\caption{{{_line(part.title)}{'. ' + _line(part.note) if part.note else ''}}}\label{{tab:{label}}}"
    lines = "\n".join(rows)
    if len(rows) > _LONG:
        return (
            f"{{\\scriptsize\n\\begin{{longtable}}{{{forms}}}\n{caption} \\\\\n"
            f"\\toprule\n{heading}\n\\midrule\n\\endfirsthead\n"
            f"\\toprule\n{heading}\n\\midrule\n\\endhead\n\\bottomrule\n\\endfoot\n{lines}\n\\end{{longtable}}}}\n"
        )
    return (
        f"\\begin{{table}}[htbp]\n\\centering\\small\n{caption}\n\\resizebox{{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}}{{!}}{{%\n"
        f"\\begin{{tabular}}{{{forms}}}\n\\toprule\n{heading}\n\\midrule\n{lines}\n\\bottomrule\n\\end{{tabular}}}}\n\\end{{table}}\n"
    )


def _wide(part: Table, column: int) -> bool:
    return any(isinstance(cell := row[column], str) and len(cell) > _WIDE for row in part.rows)


def escaped(text: str) -> str:
    """Return a text with every special character escaped, for any of the engines."""
    text = "".join(_ESCAPES.get(c) or (c if _is_latin(c) else f"[U+{ord(c):04X}]") for c in text)
    text = text.replace("--", "-{}-").replace(",,", ",{},")  # no ligatures
    return f"{{{text[0]}}}{text[1:]}" if text[:1] in ("[", "*") else text  # not an argument of a line break before it


def _is_latin(character: str) -> bool:
    return character.isascii() or "\u00c0" <= character <= "\u00ff"


def _line(source: str) -> str:
    head, rest = clipped(source)
    return escaped(" ".join(head.split()) + (f" [{len(rest):,} characters more]" if rest else ""))
