import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from lmlab.runs import config_file

KEYS = st.text("abcdef_", min_size=1, max_size=5)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=30)
SECTIONS = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3))


@settings(max_examples=40)
@given(st.lists(st.dictionaries(KEYS, SECTIONS, min_size=1, max_size=5), min_size=1, max_size=3))
def test_what_omegaconf_wrote_is_read_as_omegaconf_reads_it(configs):
    for config in configs:
        text = OmegaConf.to_yaml(OmegaConf.create(config, flags={"allow_objects": True}))
        expected = OmegaConf.to_container(OmegaConf.create(text))
        assert config_file.load(text.encode()) == expected
        assert repr(config_file.load(text.encode())) == repr(expected)  # 1 is not 1.0, nor true


def test_nobody_shares_what_was_read():
    first, second = config_file.load(b"model: {width: 1}\n"), config_file.load(b"model: {width: 1}\n")
    first["model"]["width"] = 2
    assert second == config_file.load(b"model: {width: 1}\n") == {"model": {"width": 1}}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: &x\n  b: 1\nc: *x\n", {"a": {"b": 1}, "c": {"b": 1}}),
        ("# about\na:\n- 1\n- 2\n\nb: |\n  c: 1\n", {"a": [1, 2], "b": "c: 1\n"}),
        ('a: "one\n  two: 3"\nb: 1e-3\n', {"a": "one two: 3", "b": 0.001}),
        ("? a\n: b\n", {"a": "b"}),
        ("{a: 1}\n", {"a": 1}),
        ("a: 1\nb: 2\na: 3\n", {"a": 3, "b": 2}),
        ("", None),
        ("- a\n", ["a"]),
    ],
)
def test_what_does_not_come_apart_in_sections_is_read_as_a_whole(text, expected):
    assert config_file.load(text.encode()) == expected


@pytest.mark.parametrize("text", ["a: [1\nb: 2\n", "a: 1\n---\nb: 2\n", 'a: "x\nb: 1\n', "a: *x\n"])
def test_what_is_no_yaml_is_refused(text):
    with pytest.raises(yaml.YAMLError):
        config_file.load(text.encode())


@pytest.mark.parametrize("text", ["costs ${", "const s = `hi ${name}`;", "\\${x}", "1e5", "null", "größe", "a\nb"])
def test_any_text_comes_back_as_it_was_saved(text):
    config = {"name": text, "tags": [text], "callbacks": {"samples": {"prompt": text}}}
    assert config_file.load(config_file.dump(config).encode()) == config
