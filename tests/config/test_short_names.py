import pytest
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType

from lmlab.config.canonical import CONF
from lmlab.config.overrides import read
from lmlab.config.short_names import NESTED, long_name, short_name


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("model/mixer=gru", "mixer=gru"),
        ("model/mixer=gru,lstm", "mixer=gru,lstm"),
        ("+model/head=softmax", "+head=softmax"),
        ("~model/channel", "~channel"),
        ("model/mixers=gru", "model/mixers=gru"),
        ("data.paths=model/mixer=x", 'data.paths="model/mixer=x"'),
        ("hydra/launcher=parallel", "hydra/launcher=parallel"),
    ],
)
def test_words_have_short_names(typed, expected):
    assert read(typed, several=True) == expected == read(expected, several=True)


def test_every_nested_group_is_a_folder_with_a_name_of_its_own():
    assert {short_name(long_name(name)) for name in NESTED} == set(NESTED)
    assert all((CONF / long).is_dir() and not (CONF / name).exists() for name, long in NESTED.items())
    assert {f"model/{path.name}" for path in (CONF / "model").iterdir() if path.is_dir()} == set(NESTED.values())


@pytest.mark.parametrize("group", NESTED)
def test_both_names_choose_the_same_and_are_recorded_as_typed(group):
    word = {"mixer": "gru", "channel": "swiglu", "block": "prenorm", "head": "mixture_of_softmaxes"}[group]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        composed = [
            hydra_compose("train", [f"{name}={word}"], return_hydra_config=True) for name in (group, long_name(group))
        ]
    first, second = composed
    assert first.model == second.model and first.model[group] is not None
    for config, name in zip(composed, (group, long_name(group)), strict=True):
        assert config.hydra.overrides.task == [f"{name}={word}"]
        assert config.hydra.runtime.choices[group] == word and f"model/{group}" not in config.hydra.runtime.choices


def test_listings_have_short_names_and_no_file_that_others_extend():
    with initialize_config_dir(str(CONF), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        assert set(NESTED) <= set(loader.list_groups("")) and loader.list_groups("model") == []
        assert "gru" in loader.get_group_options("mixer") and "transformer" in loader.get_group_options("model")
        assert loader.get_group_options("mixer") == loader.get_group_options("model/mixer", ObjectType.CONFIG)
        assert "base" not in loader.get_group_options("model")
