import pytest

from lmlab.commands.prompts import Prompt, read_prompts
from lmlab.errors import UserError


@pytest.fixture
def file(tmp_path, monkeypatch):
    """Write a file where the command runs; its name."""
    monkeypatch.chdir(tmp_path)

    def write(name: str, content: str | bytes) -> str:
        (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
        return name

    return write


def test_each_line_of_a_text_file_is_a_prompt(file):
    name = file("p.txt", "\ufeffa b \r\n\n  \nü\u2028{}\n")
    assert [(one.text, one.number, one.source) for one in read_prompts(name)] == [
        ("a b ", 1, "prompts=p.txt, line 1"),
        ("ü\u2028{}", 2, "prompts=p.txt, line 4"),
    ]


def test_records_keep_what_else_they_say(file):
    name = file("p.jsonl", '{"id": 7, "prompt": "a\\nb", "more": {"x": [1]}}\n\n{"prompt": ""}')
    assert read_prompts(name) == [
        Prompt("a\nb", 1, "prompts=p.jsonl, line 1", {"id": 7, "more": {"x": [1]}}),
        Prompt("", 2, "prompts=p.jsonl, line 3", {}),
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.txt", "\n \n", "prompts=p.txt: the file is empty; expected a prompt in each line"),
        ("p.jsonl", "", "prompts=p.jsonl: the file is empty"),
        ("p.csv", "a", r"prompts=p.csv: expected a file that ends in \.txt .* or \.jsonl"),
        ("p.txt", b"a\nb\xff", r"prompts=p.txt, line 2: is not valid UTF-8 \(byte 0xff at column 2\)"),
        ("p.jsonl", '{"prompt": "a"}\n{"prompt": "b"', r"prompts=p.jsonl, line 2: is not JSON \(.* at column 15\)"),
        ("p.jsonl", '\n["a"]', r"prompts=p.jsonl, line 2: expected a record like .*, got \[\"a\"\]"),
        ("p.jsonl", '{"promt": "a", "id": 1}', r"line 1: has no key prompt; .*, this one has promt, id"),
        ("p.jsonl", '{"prompt": 5}', "line 1: prompt=5: expected a text in quotes"),
        ("p.jsonl", '{"prompt": ' + "9" * 5000 + "}", "line 1: is not JSON"),
        ("p.jsonl", "[" * 100_000, "line 1: is nested too deeply"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_in_a_line(file, name, content, message):
    with pytest.raises(UserError, match=message) as refused:
        read_prompts(file(name, content))
    assert "\n" not in str(refused.value)


def test_a_file_that_is_not_there_is_named_with_the_nearest_that_is(file, tmp_path):
    file("prompts.txt", "a")
    with pytest.raises(UserError, match=r"prompts=promts\.txt: there is no file .*\(did you mean 'prompts\.txt'\?\)"):
        read_prompts("promts.txt")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match="prompts=folder: is a folder"):
        read_prompts("folder")
