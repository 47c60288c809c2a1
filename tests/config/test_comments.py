"""Comments of the files of options, beside the composed values of ``--help``."""

import re

import pytest

from lmlab.config.comments import aligned, settings


def test_a_setting_has_its_value_and_all_lines_of_its_comment(tmp_path):
    path = tmp_path / "option.yaml"
    path.write_text(
        "# About the option.\ndefaults: [other, _self_]\nrate: 1e-3  # learning rate,\n            # of all weights\n"
        'section:  # a group of options\n  text: "# is no comment"\n  places: {a: 1}  # where\n  _partial_: true\n'
    )
    assert [tuple(each) for each in settings(path)] == [
        ("", "rate", "1e-3", ["learning rate,", "of all weights"]),
        ("", "section", "", ["a group of options"]),
        ("  ", "text", '"# is no comment"', []),
        ("  ", "places", "{a: 1}", ["where"]),
    ]


def test_comments_begin_in_one_column_unless_a_value_is_long():
    rows = [("a: 1", ["one", "more"]), ("bcd: 2", []), ("efgh: 3", ["three"]), (f"long: {'x' * 40}", ["four"])]
    assert list(aligned(rows)) == [
        "a: 1     # one",
        "         # more",
        "bcd: 2",
        "efgh: 3  # three",
        f"long: {'x' * 40}  # four",
    ]


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        (["evaluate"], ["split: null", "the weights at the end", "output='${run}.jsonl'"]),
        (["evaluate", "data=multi30k", "data.source=de"], ["source: de", "# de | en | fr", "# most tokens of a"]),
        (["chat"], ['turn: "You: {text}\\nModel:" # what the model reads', 'stop: ["\\nYou:"]']),
        (["train", "mixer=attention"], ["window: null", "# tokens that a token sees"]),
        (["train", "experiment=rnn_vs_transformer"], ["\n  tune:\n    optimizer.lr: "]),
        (["data", "data=text"], ["field: null", "# the field of records", "samples: 3"]),
    ],
)
def test_the_help_of_a_command_says_what_its_options_mean(lmlab, words, lines):
    shown = lmlab(*words, "--help").stdout
    assert all(line in re.sub(" +#", " #", shown) for line in lines)


def test_the_help_of_data_has_no_options_of_training(lmlab):
    assert "optimizer" not in lmlab("data", "--help").stdout.replace("train --help", "")
