"""What a report's folder holds, and what is left of it when something goes wrong."""

import pytest
from synthetic_runs import write_run

from lmlab.analysis.comparison import compare_by
from lmlab.analysis.records import read
from lmlab.analysis.report import html
from lmlab.analysis.report.folder import check_formats, name_of, write
from lmlab.errors import UserError
from lmlab.runs.lookup import all_runs


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "outputs" / "runs"


@pytest.mark.slow
def test_a_report_that_breaks_off_leaves_the_last_one_whole(folder, tmp_path, monkeypatch):
    write_run(folder, "model=lstm")
    found, place = compare_by(read(all_runs(folder)).readable), tmp_path / "report"
    formats = ("html", "markdown", "latex")
    write(found, {}, place, "lmlab report", formats)
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    assert {"report.html", "report.md"} <= {path.name for path in before}
    # Markdown is written before the page, so another command would be in it.
    monkeypatch.setattr(html, "write", lambda document, path: path.write_text("half") and 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write(found, {}, place, "lmlab report runs=others", formats)
    assert {path: path.read_bytes() for path in place.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("formats", "kinds"),
    [
        (["html"], {".html"}),
        (["markdown"], {".md", ".svg"}),
        (["latex"], {".tex", ".pdf"}),
        (["png", "html"], {".png", ".html"}),
    ],
)
def test_only_the_files_of_a_format_are_written(formats, kinds, folder, tmp_path):
    write_run(folder, "model=lstm")
    write(compare_by(read(all_runs(folder)).readable), {}, tmp_path / "report", None, formats)
    assert {path.suffix for path in (tmp_path / "report").rglob("*") if path.is_file()} == kinds


def test_an_unknown_format_is_refused_with_the_nearest():
    with pytest.raises(UserError, match="formats=htm: expected html, .*did you mean 'html'"):
        check_formats(["htm"])
    with pytest.raises(UserError, match="expected at least one of html"):
        check_formats([])


def test_the_name_of_a_report_says_what_it_is_of_and_changes_with_the_runs(folder):
    for model in ("lstm", "gru", "rnn", "transformer"):
        write_run(folder, f"model={model}")
    found = read(all_runs(folder)).readable
    name = name_of(compare_by(found))
    assert name == name_of(compare_by(found)) != name_of(compare_by(found, metric="validation/loss"))
    assert name.startswith("gru-and-3-others-stdlib-")
