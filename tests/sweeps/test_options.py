import pytest

from lmlab.errors import UserError
from lmlab.sweeps.options import SweepOptions


@pytest.mark.parametrize(
    ("typed", "groups"),
    [
        (None, []),
        ([], []),
        (["a", "b.c"], [["a", "b.c"]]),
        ([["a", "b"], ["c", "d", "e"]], [["a", "b"], ["c", "d", "e"]]),
    ],
)
def test_what_is_zipped_is_one_group_or_several(typed, groups):
    options = SweepOptions.read({"_target_": "x", "zip": typed, "stop_after": None})
    assert options.zipped == groups and options.search == {"_target_": "x"}
    assert options.section == {"_target_": "x"} | ({"zip": typed} if groups else {})


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"zip": "a"}, "sweep.zip=a: expected options, as sweep.zip=["),
        ({"zip": ["a", ["b", "c"]]}, "sweep.zip=[a,[b,c]]: expected options"),
        ({"zip": [1, 2]}, "sweep.zip=[1,2]: expected options"),
        ({"zip": ["a"]}, "sweep.zip=[a]: expected at least two options to pair"),
        ({"zip": [["a", "b"], []]}, "expected at least two options to pair"),
        ({"zip": ["a", "b", "a"]}, "sweep.zip=[a,b,a]: a occurs twice"),
        ({"zip": [["a", "b"], ["c", "b"]]}, "sweep.zip=[[a,b],[c,b]]: b occurs twice"),
        ({"stop_after": 0}, "sweep.stop_after=0: expected a number of failed jobs of at least 1, or null"),
        ({"stop_after": True}, "sweep.stop_after=true: expected"),
        ({"stop_after": 1.5}, "sweep.stop_after=1.5: expected"),
        ({"stop_after": "one"}, "sweep.stop_after=one: expected"),
    ],
)
def test_values_that_cannot_be_meant_are_refused(section, message):
    with pytest.raises(UserError) as error:
        SweepOptions.read(section)
    assert str(error.value).startswith(message) or message in str(error.value)


def test_what_is_recorded_has_no_option_at_its_default():
    assert SweepOptions.read(None).section == SweepOptions.read({"zip": None, "stop_after": None}).section == {}
    assert SweepOptions.read({"stop_after": 2}).section == {"stop_after": 2}
