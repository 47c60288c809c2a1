import json

from lmlab.runs.files import Tail, append_row, write_text


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
