from types import SimpleNamespace

from compared_arms import arm, between

from lmlab.analysis.doubts import examine
from lmlab.analysis.doubts.arms import options
from lmlab.analysis.options import ABSENT, differing, has, text_of
from lmlab.analysis.report.content.provenance import every_run
from lmlab.analysis.report.content.tuning import tuning


def test_an_option_that_a_run_does_not_have_is_not_one_without_a_value():
    run = SimpleNamespace(setting={"a": {"x": None, "y": 0.5}, "seed": 1}, choice=lambda group: "lstm")
    keys = ("a.x", "a.y", "a.z", "b.x", "a.y.z", "seed", "model")
    assert [has(run, key) for key in keys] == [True, True, False, False, False, True, True]
    assert [text_of(run, key) for key in keys] == ["null", "0.5", ABSENT, ABSENT, ABSENT, "1", "lstm"]


def test_one_text_in_two_places_is_no_difference():
    def run(place, text):
        config = {"data": {"paths": place, "test": 0.1}, "content": {"data": text} if text else {}, "seed": 1}
        return SimpleNamespace(setting=config)

    assert differing([run("a", "1f"), run("b", "1f")]) == set()
    assert differing([run("a", "1f"), run("b", "2e")]) == {"content.data", "data.paths"}
    assert differing([run("a", None), run("b", None)]) == {"data.paths"}
    assert dict(options(run("a", "1f").setting)) == {"data.test": 0.1, "content.data": "1f"}
    assert dict(options(run("a", None).setting)) == {"data.paths": "a", "data.test": 0.1, "content": {}}


def test_what_one_arm_alone_was_tuned_in_is_shown_as_absent_in_the_other(tmp_path):
    """Six settings of each arm: three rates and, of one arm, two numbers of heads."""
    for heads in (2, 4):
        arm(tmp_path, "transformer", rates=(2e-3, 5e-3, 1.2e-2), options={"model.mixer.heads": heads})
    arm(tmp_path, "lstm")
    comparison = between(tmp_path)
    table = next(part for part in tuning(comparison).parts if getattr(part, "name", "") == "tuning")
    rows = {row[0]: row for row in table.rows if row[1] == "model.mixer.heads"}
    assert rows["lstm"][2:5] == (ABSENT, None, ABSENT)
    assert rows["transformer"][2] == "2 and 4" and rows["transformer"][3] == 2
    (runs,) = every_run(comparison).parts
    index = [column.heading for column in runs.columns].index("model.mixer.heads")
    assert {(row[0], row[index]) for row in runs.rows} == {("lstm", ABSENT), ("transformer", "2"), ("transformer", "4")}
    assert not [doubt for doubt in examine(comparison) if "model.mixer.heads was tuned" in doubt.text]
