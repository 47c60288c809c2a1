import pytest

from lmlab.errors import UserError
from lmlab.models.decoding import Decoding


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"length": 0}, "length=0: expected a whole number of at least 1"),
        ({"beams": 0}, "beams=0: expected a whole number of at least 1"),
        ({"repetition_penalty": 0.0}, r"repetition_penalty=0\.0: expected a number above 0"),
        ({"repetition_penalty": float("nan")}, "repetition_penalty=nan: expected a number above 0"),
        ({"beams": 2, "length_penalty": -1.0}, r"length_penalty=-1\.0: expected a number from 0 to 10"),
        ({"length_penalty": 0.6}, r"length_penalty=0\.6: is for beam search; choose beams=2 or more as well"),
        ({"best": 3}, "best=3: needs at least as many beams, not 1; choose beams=3 as well"),
        ({"beams": 4, "best": 5}, "best=5: needs at least as many beams, not 4; choose beams=5 as well"),
        ({"beams": 4, "greedy": True}, "beams=4: cannot be combined with greedy=true; leave one of them out"),
        ({"beams": 4, "top_k": 3}, "beams=4: cannot be combined with top_k=3; leave one of them out"),
        ({"beams": 4, "top_p": 0.5}, r"beams=4: cannot be combined with top_p=0\.5; leave one of them out"),
    ],
)
def test_settings_that_cannot_be_are_refused_by_name(settings, message):
    with pytest.raises(UserError, match=f"^{message}"):
        Decoding(**settings)


def test_equal_decodings_have_equal_signatures_and_no_others():
    """Settings without effect are left out, the others are as they are typed."""
    assert Decoding(greedy=True, length=64).signature() == "greedy=true length=64"
    assert Decoding(0.3, top_k=7, greedy=True, length=64).signature() == Decoding(greedy=True, length=64).signature()
    assert Decoding(0.8, top_p=0.9).signature() == "temperature=0.8 top_p=0.9 length=200"
    searched = Decoding(0.8, beams=4, length_penalty=0.6, repetition_penalty=1.2, stop=("\n", "é"))
    line = "beams=4 length_penalty=0.6 length=200 repetition_penalty=1.2 "
    assert searched.signature() == line + """stop='["\\n", "é"]'"""
