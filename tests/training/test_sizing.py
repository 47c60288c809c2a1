import pytest
import torch
from model_sections import model_section

from lmlab.config.build import build
from lmlab.config.experiment import Experiment
from lmlab.config.identity import identity
from lmlab.config.options import options_of
from lmlab.errors import UserError
from lmlab.models.parameters import parameter_counts
from lmlab.runs.lookup import all_runs
from lmlab.training.preflight import check_objects
from lmlab.training.sizing import MULTIPLES, fits, solve_width

V, C = 1000, 32
MODELS = [model for model in options_of("model") if model != "hf"]


def built(model_node):
    with torch.device("meta"):
        return build(model_node, vocabulary=V, context=C)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(("target", "kind"), [("2M", "matmul"), ("20M", "total"), ("300M", "non_embedding")])
def test_every_model_gets_the_size_asked_for(model, target, kind):
    wanted = int(target[:-1]) * 10**6
    asked = model_section(f"model={model}", f"model.parameters={target}", f"model.parameters_of={kind}")
    solved = solve_width(asked, V, C)
    if solved["solved_from"] is None:
        assert {**solved, "width": asked["width"]} == asked
    # The model itself refuses to be built with another size than it was asked for.
    assert parameter_counts(built(solved))[kind] == pytest.approx(wanted, rel=0.01)


def lstm(width):
    """Parameters of two LSTM layers, of one embedding table that is also the head's."""
    return V * width + 2 * (8 * width * width + 8 * width)


def gpt2(width):
    """Parameters of four blocks, of nine norms' gains, of the embedding and the positions."""
    return V * width + C * width + 4 * 12 * width * width + 9 * width if width % 4 == 0 else 0


@pytest.mark.slow
@pytest.mark.parametrize("model", ["mlstm", "moe", "transformer", "gpt2", "xlstm", "hybrid"])
@pytest.mark.parametrize(("target", "depth"), [("300k", 2), ("300k", 4), ("1M", 2), ("1M", 4), ("1M", 8)])
def test_small_models_whose_widths_are_far_apart_get_their_size_too(model, target, depth):
    asked = model_section(f"model={model}", f"model.parameters={target}", f"model.depth={depth}")
    solved = solve_width(asked, 256, C)
    wanted = {"300k": 300_000, "1M": 1_000_000}[target]
    with torch.device("meta"):
        model = build(solved, vocabulary=256, context=C)
    assert parameter_counts(model)["total"] == pytest.approx(wanted, rel=0.01)


def test_models_of_a_library_get_their_size_too():
    pytest.importorskip("transformers")
    asked = model_section("model=hf", "model.architecture=gpt2", "model.parameters=2M")
    assert fits(solve_width(asked, 256, C), 256, C)


@pytest.mark.parametrize(("model", "formula"), [("lstm", lstm), ("gpt2", gpt2)])
@pytest.mark.parametrize("target", [50_000, 123_456, 800_000, 3_000_000, 25_000_000])
def test_the_width_is_the_nearest_of_the_roundest(model, formula, target):
    asked = model_section(f"model={model}", f"model.parameters={target}")
    for multiple in MULTIPLES[: MULTIPLES.index(8) + 1] if model == "gpt2" else MULTIPLES:
        near = [w for w in range(multiple, 2000, multiple) if abs(formula(w) - target) <= 0.01 * target]
        if near:
            solved = solve_width(asked, V, C)
            assert solved["width"] == min(near, key=lambda width: abs(formula(width) - target))
            return
    if model == "lstm":  # nothing else can be changed
        with pytest.raises(UserError, match="no width is within 1 %"):
            solve_width(asked, V, C)
        return
    solved = solve_width(asked, V, C)
    assert solved["solved_from"] == {"channel.ratio": 4.0} and solved["channel"]["ratio"] == pytest.approx(4, rel=0.5)
    assert parameter_counts(built(solved))["total"] == pytest.approx(target, rel=0.01)


def test_what_a_size_changed_has_no_part_in_the_identity():
    asked = model_section("model=transformer", "model.parameters=10M")
    solved = solve_width(asked, 2048, 128)
    assert solved["solved_from"] == {"channel.ratio": asked["channel"]["ratio"]} != {"channel.ratio": 0}
    assert solved["channel"]["ratio"] != asked["channel"]["ratio"] and fits(solved, 2048, 128)
    assert identity({"model": solved}) == identity({"model": asked})
    other = asked | {"channel": asked["channel"] | {"ratio": solved["channel"]["ratio"]}}
    assert identity({"model": other}) != identity({"model": asked})


def test_widths_that_a_constructor_refuses_are_skipped():
    asked = model_section("model=transformer", "model.parameters=50M", "model.mixer.heads=7")
    solved = solve_width(asked, V, C)
    assert solved["width"] % (2 * 7) == 0
    assert fits(solved, V, C) and not fits(asked, V, C)


def test_what_no_width_reaches_is_one_line_with_the_two_nearest():
    message = (
        r"model\.parameters=5k: no width is within 1 %; the nearest: "
        r"width 4 has 4,320 and width 5 has 5,480 \(total\)"
    )
    with pytest.raises(UserError, match=message):
        solve_width(model_section("model=lstm", "model.parameters=5k"), V, C)
    with pytest.raises(UserError, match="the nearest: width 1 has 1,032"):
        solve_width(model_section("model=lstm", "model.parameters=9"), V, C)


def test_what_is_wrong_at_any_width_is_said():
    asked = model_section("model=transformer", "model.parameters=1M", "model.mixer.heads=0")
    with pytest.raises(UserError, match=r"model\.mixer\.heads=0"):
        solve_width(asked, V, C)


@pytest.mark.parametrize("target", ["10Q", "many", "-3", "0"])
def test_a_size_that_is_none_is_refused_before_anything_is_built(target, compose):
    config = compose("data=text", "data.paths=x.txt", f"model.parameters={target}")
    with pytest.raises(UserError, match=rf"model\.parameters={target}: expected a number of parameters, like 10M"):
        check_objects(Experiment.of(config))


def test_a_model_without_a_width_cannot_be_sized():
    with pytest.raises(UserError, match=r"model\.parameters=1M: this model has no model\.width"):
        solve_width({"_target_": "x", "parameters": "1M"}, V, C)


def test_a_width_that_will_not_be_the_model_s_does_not_matter_before_it_is_solved(compose):
    sized = compose("data=text", "data.paths=x.txt", "model=transformer", "model.mixer.heads=7", "model.parameters=3M")
    check_objects(Experiment.of(sized))
    with pytest.raises(UserError, match="must divide model.width=128"):
        plain = compose("data=text", "data.paths=x.txt", "model=transformer", "model.mixer.heads=7")
        check_objects(Experiment.of(plain))


def test_the_identity_is_known_before_the_width(compose):
    base = ("data=text", "data.paths=x.txt", "model=lstm")
    asked = compose(*base, "model.parameters=2M")
    solved = asked | {"model": solve_width(asked["model"], V, C)}
    assert solved["model"]["width"] != asked["model"]["width"]
    assert identity(asked) == identity(solved) == identity(compose(*base, "model.parameters=2M", "model.width=7"))
    others = [(), ("model.parameters=3M",), ("model.parameters=2M", "model.parameters_of=matmul")]
    assert len({identity(asked), *(identity(compose(*base, *other)) for other in others)}) == 4
    assert identity(compose(*base, "model.width=7")) != identity(compose(*base))


def test_a_size_may_be_missed_by_what_was_declared_and_no_more():
    asked = ("model=lstm", "model.parameters=5k")  # width 4 has 4,320 and width 5 has 5,480
    with pytest.raises(UserError, match="no width is within 9 %"):
        solve_width(model_section(*asked, "model.parameters_within=0.09"), V, C)
    solved = solve_width(model_section(*asked, "model.parameters_within=0.1"), V, C)
    assert solved["width"] == 5 and fits(solved, V, C) and parameter_counts(built(solved))["total"] == 5480
    with pytest.raises(UserError, match=r"model\.parameters=5k: the model has 5,480 \(total\), more than 1 % off"):
        built(solved | {"parameters_within": None})
    for share in ("0", "3", "-0.1"):
        with pytest.raises(UserError, match=rf"model\.parameters_within={share}: expected a share between 0 and 1"):
            solve_width(model_section(*asked, f"model.parameters_within={share}"), V, C)
    near = model_section("model=lstm", "model.parameters=2M")  # what is nearer than what was declared stays
    assert solve_width(near | {"parameters_within": 0.2}, V, C)["width"] == solve_width(near, V, C)["width"]


def test_how_far_off_a_size_may_be_is_part_of_the_identity_where_it_is_declared():
    asked = model_section("model=lstm", "model.parameters=2M")
    before = {key: value for key, value in asked.items() if key != "parameters_within"}  # as saved by earlier versions
    assert identity({"model": asked}) == identity({"model": before})
    assert identity({"model": asked | {"parameters_within": 0.03}}) != identity({"model": asked})
    plain = model_section("model=lstm")  # where no size is asked for, it says nothing
    assert identity({"model": plain | {"parameters_within": 0.03}}) == identity({"model": plain})


def test_a_model_that_asks_for_no_size_is_left_alone():
    asked = model_section("model=lstm")
    assert solve_width(asked, V, C) is asked


@pytest.mark.slow
def test_a_run_of_a_size_from_asking_to_reproducing(lmlab, small, tmp_path):
    arguments = [word for word in small if not word.startswith("model.width")]
    arguments = ["train", *arguments, "model=lstm", "model.parameters=20k"]
    first = lmlab(*arguments)
    (run,) = all_runs(tmp_path / "outputs" / "runs")
    width = run.config["model"]["width"]
    sizes = run.manifest["sizes"]
    assert width != 200 and sizes["width"] == width
    assert sizes["parameters"]["total"] == pytest.approx(20_000, rel=0.01)
    assert f"model.parameters=20k: width {width} ({sizes['parameters']['total']:,} total)" in first.stdout
    # Asked again it is the same run, whatever the width; evaluating and computing afresh take the one that was solved.
    assert "showing the recorded result" in lmlab(*arguments, "model.width=7").stdout
    assert "fixed_window" in lmlab("evaluate", f"run={run.id}", "metrics=[fixed_window]").stdout
    done = lmlab("reproduce", f"run={run.id}")
    assert "identical" in done.stdout and "different" not in done.stdout
    assert [other.config["model"]["width"] for other in all_runs(tmp_path / "outputs" / "runs")] == [width, width]
    refused = lmlab(*arguments[:-2], "model.parameters=300", check=False)
    assert "model.parameters=300: no width is within 1 %; the nearest: width 1 has" in refused.stderr
    assert len(list((tmp_path / "outputs" / "runs").iterdir())) == 2
