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


@settings(max_examples=40)
@given(st.dictionaries(KEYS, SECTIONS | st.floats() | st.dictionaries(st.integers(), SCALARS), min_size=1))
def test_the_copy_says_what_the_file_says_and_only_of_that_file(tmp_path_factory, config):
    copy = tmp_path_factory.mktemp("run") / "config.json"
    text = config_file.dump(config)
    copy.write_text(config_file.dump_copy(config, text))
    assert repr(config_file.load(text.encode(), copy)) == repr(config_file.load(text.encode()))
    assert config_file.load(b"name: edited\n", copy) == {"name": "edited"}


def test_the_copy_spares_reading_yaml(tmp_path, monkeypatch):
    copy = tmp_path / "config.json"
    text = config_file.dump({"model": {"width": 1}})
    copy.write_text(config_file.dump_copy({"model": {"width": 1}}, text))
    monkeypatch.setattr(yaml, "load", None)
    assert config_file.load(text.encode(), copy) == {"model": {"width": 1}}


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"\xff", None])
def test_a_damaged_copy_is_passed_over(tmp_path, content):
    if content is not None:
        (tmp_path / "config.json").write_bytes(content)
    assert config_file.load(b"model: 1e-3\n", tmp_path / "config.json") == {"model": 0.001}


@pytest.mark.parametrize("text", ["a: [1\nb: 2\n", "a: 1\n---\nb: 2\n", 'a: "x\nb: 1\n', "a: *x\n"])
def test_what_is_no_yaml_is_refused(text):
    with pytest.raises(yaml.YAMLError):
        config_file.load(text.encode())


@pytest.mark.parametrize("text", ["costs ${", "const s = `hi ${name}`;", "\\${x}", "1e5", "null", "größe", "a\nb"])
def test_any_text_comes_back_as_it_was_saved(text):
    config = {"name": text, "tags": [text], "callbacks": {"samples": {"prompt": text}}}
    assert config_file.load(config_file.dump(config).encode()) == config
