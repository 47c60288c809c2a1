import pytest

from lmlab.config.names import LONGEST, as_name, check_name
from lmlab.errors import UserError


@pytest.mark.parametrize("name", ["lstm-text", "größe", "2024", "lr=3e-3+wd@1", "a" * LONGEST])
def test_a_name_that_a_directory_can_have(name):
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "exp1/lr3",
        "../../elsewhere/x",
        "/tmp/x",
        "[red]x",
        ".hidden",
        "-m",
        "a b",
        "a\nb",
        "a,b",
        "a" * 300,
        "é" * 60,
    ],
)
def test_a_name_that_a_directory_cannot_have_is_refused_in_one_line(name):
    with pytest.raises(UserError, match="^name") as refused:
        check_name(name)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 200
    if name.strip("./-") and len(name.encode()) <= LONGEST:
        assert check_name(as_name(name)) in str(refused.value), "the message offers one that can be"


def test_whatever_a_model_is_called_makes_a_name():
    assert as_name("mine/leaky-stdlib") == "mine-leaky-stdlib"
    assert check_name(as_name("/" + "ü/" * 200))
