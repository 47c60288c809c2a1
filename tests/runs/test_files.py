import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmlab.runs.files import (
    NOT_FINITE,
    Tail,
    append_row,
    dumps,
    numbers,
    read_json,
    whole_folder,
    write_json,
    write_text,
)

TEXTS = st.text(st.characters()).filter(lambda text: text not in NOT_FINITE)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda part: st.lists(part, max_size=3) | st.dictionaries(TEXTS, part, max_size=3),
)


def strict(text):
    """Parse as a parser does that knows nothing but the standard: UTF-8, and no NaN."""

    def refuse(token):
        raise AssertionError(f"{token} is no JSON")

    return json.loads(text.encode("utf-8"), parse_constant=refuse)


@given(VALUES, st.sampled_from([None, 2]))
def test_what_is_written_is_json_and_measurements_are_read_back_as_they_were(value, indent):
    written = dumps(value, indent)
    assert repr(numbers(strict(written))) == repr(value)  # in which nan is equal to itself, and 1 is not 1.0
    assert indent is not None or "\n" not in written


def test_texts_stay_texts_whatever_they_spell(tmp_path):
    value = {"text": "NaN", "tags": ["Infinity"], "name": "half a pair: \ud83d, a whole one: \N{GRINNING FACE}"}
    write_json(tmp_path / "file.json", value)
    assert read_json(tmp_path / "file.json") == strict((tmp_path / "file.json").read_text("utf-8")) == value


def test_numbers_that_earlier_versions_wrote_are_read(tmp_path):
    (tmp_path / "file.json").write_text('{"a": NaN, "b": [Infinity, -Infinity]}')
    found = numbers(read_json(tmp_path / "file.json"))
    assert math.isnan(found["a"]) and found["b"] == [math.inf, -math.inf]


@pytest.mark.parametrize("written", ['"NaN"', "NaN"])
def test_a_row_that_is_not_finite_comes_as_numbers(tmp_path, written):
    (tmp_path / "rows").write_text(f'{{"step": 1, "loss": {written}}}\n')
    (row,) = Tail(tmp_path / "rows").new_rows()
    assert math.isnan(row["loss"])


def test_rows_of_one_step_come_whenever_they_are_written(tmp_path):
    tail = Tail(tmp_path / "rows")
    assert tail.new_rows() == []
    append_row(tail.path, {"step": 1, "train/loss": 3.0})
    assert [row["step"] for row in tail.new_rows()] == [1]
    append_row(tail.path, {"step": 1, "validation/loss": 2.0})
    assert tail.new_rows() == [{"step": 1, "validation/loss": 2.0}]
    assert tail.new_rows() == []


def test_a_row_that_is_being_written_comes_when_it_is_whole(tmp_path):
    tail = Tail(tmp_path / "rows")
    with tail.path.open("a") as file:
        file.write('{"step": 1, "text": "\u2028')
        file.flush()
        assert tail.new_rows() == []
        file.write('"}\n')
    assert tail.new_rows() == [{"step": 1, "text": "\u2028"}]


def test_a_file_that_was_replaced_is_read_anew_and_no_row_comes_twice(tmp_path):
    """Also one that has grown beyond what was read of the one before."""
    tail = Tail(tmp_path / "rows")
    for step in range(1, 7):
        append_row(tail.path, {"step": step, "loss": 1.0})
    assert len(tail.new_rows()) == 6
    rows = [{"step": step, "loss": 0.123456789} for step in range(1, 10)]
    write_text(tail.path, "".join(json.dumps(row) + "\n" for row in rows))
    assert [row["step"] for row in tail.new_rows()] == [7, 8, 9]
    write_text(tail.path, "".join(json.dumps(row) + "\n" for row in rows[:2]))
    assert tail.new_rows() == []
    append_row(tail.path, {"step": 10, "loss": 1.0})
    assert [row["step"] for row in tail.new_rows()] == [10]


class TestWholeFolder:
    """The folder appears when it is complete; what a failed writer leaves is not used, or continued."""

    def read(self, folder):
        path = folder / "content"
        return path.read_text() if path.exists() else None

    def fill(self, folder):
        (folder / "content").write_text("whole")

    def fail(self, folder):
        self.fill(folder)
        raise KeyboardInterrupt

    def test_it_is_written_once(self, tmp_path):
        assert whole_folder(tmp_path / "sub" / "a", self.read, self.fill) == "whole"
        assert whole_folder(tmp_path / "sub" / "a", self.read, self.fail) == "whole"
        assert [path.name for path in (tmp_path / "sub").iterdir() if path.is_dir()] == ["a"]

    def test_a_damaged_one_is_written_again(self, tmp_path):
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "rest").write_text("of a damaged one")
        assert whole_folder(tmp_path / "a", self.read, self.fill) == "whole"
        assert [path.name for path in (tmp_path / "a").iterdir()] == ["content"]

    def test_a_failure_leaves_nothing(self, tmp_path):
        with pytest.raises(KeyboardInterrupt):
            whole_folder(tmp_path / "a", self.read, self.fail)
        assert not [path for path in tmp_path.iterdir() if path.is_dir()]

    def test_a_resumable_one_is_found_by_the_next(self, tmp_path):
        before = []

        def resume(folder):
            before.append(folder.exists())
            folder.mkdir(exist_ok=True)
            self.fill(folder)
            if len(before) == 1:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            whole_folder(tmp_path / "a", self.read, resume, resumable=True)
        assert not (tmp_path / "a").exists()
        assert whole_folder(tmp_path / "a", self.read, resume, resumable=True) == "whole" and before == [False, True]

    def test_another_process_may_have_written_it_while_this_one_waited(self, tmp_path):
        (tmp_path / "a").mkdir()
        self.fill(tmp_path / "a")
        contents = iter([None, "of another"])
        assert whole_folder(tmp_path / "a", lambda folder: next(contents), self.fail) == "of another"
