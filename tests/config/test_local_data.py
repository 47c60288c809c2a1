import pytest

from lmlab.config.identity import identity
from lmlab.errors import UserError

TEXT = ("data=text", "tokenizer=byte")
SPLITS = ("data.train=a.txt", "data.validation=[b.txt,c.txt]", "data.test=d.txt")


def test_files_by_split_are_paths_by_split(compose):
    config = compose(*TEXT, *SPLITS)
    assert config["data"]["paths"] == {"train": "a.txt", "validation": ["b.txt", "c.txt"], "test": "d.txt"}
    older = compose(*TEXT, "data.paths={train:a.txt,validation:[b.txt,c.txt],test:d.txt}")
    assert config == older and identity(config) == identity(older)
    assert "test" not in compose(*TEXT, *SPLITS[:2])["data"]["paths"]


def test_shares_stay_numbers(compose):
    data = compose(*TEXT, "data.paths=a.txt", "data.validation=0.1", "data.test=0")["data"]
    assert (data["paths"], data["validation"], data["test"]) == ("a.txt", 0.1, 0)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), r"data\.paths has no value: give one as data\.paths=\.\.\., or data\.train="),
        (SPLITS[1:], r"data\.train has no value: expected .* beside data\.validation=\[b\.txt,c\.txt\]"),
        (SPLITS[:1], r"data\.validation=0\.05: expected the files of the validation split beside data\.train=a\.txt"),
        ((*SPLITS[:2], "data.test=0.1"), r"data\.test=0\.1: expected files, as data\.validation has them"),
        ((*SPLITS, "data.paths=x.txt"), r"data\.train=a\.txt: cannot be combined with data\.paths=x\.txt"),
        (("data.paths=x", "data.test=d.txt"), r"data\.test=d\.txt: files of a split; expected data\.train=x beside it"),
    ],
)
def test_mixed_forms_are_refused(compose, words, message):
    with pytest.raises(UserError, match=message):
        compose(*TEXT, *words)


def test_options_at_their_defaults_leave_earlier_identities(compose):
    config = compose(*TEXT, "data.paths=a.txt")
    earlier = {key: config["data"][key] for key in ("_target_", "paths", "validation", "test")}
    assert identity(config | {"data": earlier}) == identity(config)
    for word in ("data.documents=line", "data.field=body", "data.on_error=skip"):
        assert identity(compose(*TEXT, "data.paths=a.txt", word)) != identity(config)
