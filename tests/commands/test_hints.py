import re

import pytest
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from lmlab.commands.hints import check_output, checked_choices, explain, hint
from lmlab.config import options
from lmlab.config.other_words import VALUES, in_our_words
from lmlab.errors import UserError, first_line, nearest, within
from lmlab.sweeps.search import Space


def explained(compose, command: str, *words: str) -> str:
    with pytest.raises((HydraException, OmegaConfBaseException)) as refused:
        compose(*words, command=command)
    return explain(refused.value, command, words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["model=LSTM"], "model=LSTM: no such option (did you mean 'lstm'?)"),
        (["optimizer=AdamW"], "optimizer=AdamW: no such option (did you mean 'adamw'?)"),
        (["model=Min-LSTM"], "model=Min-LSTM: no such option (did you mean 'min_lstm'?)"),
        (["data=wikitext-2"], "data=wikitext-2: no such option (did you mean 'wikitext2'?)"),
        (["experiment=nothing"], "experiment=nothing: no such option (choose one of: article, awd_lstm, "),
        (["trainer.max_epochs=3"], "trainer.max_epochs: no such option; lmlab has budget.tokens (in training tokens: "),
        (["max_steps=3"], "max_steps: no such option; lmlab has budget.tokens (steps x batch.size x batch.context)"),
        (["trainer.ckpt_path=x"], "trainer.ckpt_path: no such option; a run goes on from its last checkpoint"),
        (["model.hidden_size=8"], "model.hidden_size: no such option; lmlab has model.width"),
        (["model.num_layers=8"], "model.num_layers: no such option; lmlab has model.depth"),
        (["data.batch_size=8"], "data.batch_size: no such option; lmlab has batch.size ("),
        (["learning_rate=1"], "learning_rate: no such option; lmlab has optimizer.lr"),
        (["DROPOUT=1"], "DROPOUT: no such option (did you mean 'model.dropout'?)"),
        (["data.paths=notes.txt"], "data.paths: no such option (only with data=text, aeslc, "),
        (
            ["tokenizer=byte", "tokenizer.size=9"],
            "tokenizer.size: no such option (only with tokenizer=bpe, symbols, unigram, word)",
        ),
        (["optimizer.name=adam"], "optimizer.name: no such option (an option of a group is chosen as optimizer=...)"),
        (["experiment=a/b"], "experiment=a/b: no such option"),
        (["unheard_of=1"], "unheard_of: no such option (lmlab train --help lists them)"),
        (
            ["model=transformer", "model.mixer.haeds=8"],
            "model.mixer.haeds: no such option (did you mean 'model.mixer.heads'?)",
        ),
    ],
)
def test_a_wrong_option_is_answered_with_the_right_one(compose, words, message):
    assert explained(compose, "train", *words).startswith(message)


def test_the_refused_word_itself_is_never_offered(compose):
    assert "model.mixer.heads" not in explained(compose, "train", "model.mixer.heads=2").partition(":")[2]


def test_a_group_lists_its_options_where_none_is_near(compose):
    shown = explained(compose, "train", "data=qqqq")
    assert all(option in shown for option in options.options_of("data"))


def test_hints_know_the_users_folder(compose, tmp_path, monkeypatch):
    monkeypatch.setattr(options, "_folder", tmp_path)
    for option, text in (
        ("model/mixer/leaky", "_target_: lmlab.models.mixers.rnn.RNN\n_partial_: true\nslope: 0.5\n"),
        ("experiment/first_try", "batch: {size: 2}\nstudy: {arms: {leaky: [mixer=leaky], lstm: [model=lstm]}}\n"),
    ):
        (tmp_path / option).parent.mkdir(parents=True)
        (tmp_path / f"{option}.yaml").write_text(text)
    assert "(did you mean 'leaky'?)" in explained(compose, "train", "mixer=leeky")
    assert "(did you mean 'first_try'?)" in explained(compose, "train", "experiment=firsttry")
    shown = explained(compose, "train", "mixer=leaky", "model.mixer.slop=1")
    assert shown == "model.mixer.slop: no such option (did you mean 'model.mixer.slope'?)"
    shown = explained(compose, "train", "experiment=first_try", "study.arms.leeky=[]")
    assert shown == "study.arms.leeky: no such option (did you mean 'study.arms.leaky'?)"


@pytest.mark.parametrize("word", ["batch_size", "precision", "seed", "devices", "learning_rate"])
def test_a_word_of_others_is_not_answered_with_what_a_command_does_not_have(word):
    assert "lmlab has" not in hint(f"x.{word}", "runs", [])


def test_every_option_that_others_call_otherwise_is_one(compose):
    """The options that the table names are options of lmlab, with some choice of model and the like."""
    known = {*_dotted(compose(command="generate")), "data.train"}  # which becomes a part of data.paths
    for words in (
        ["mixer=grouped_query_attention", "channel=swiglu", "block=prenorm"],
        ["model=hf"],
        ["data=text", "data.paths=x", "callbacks=early_stopping"],
        ["tokenizer=bpe"],
    ):
        known |= set(_dotted(compose(*words)))
    from lmlab.config import other_words

    named = {ours for ours, _ in other_words._OPTIONS.values()}
    assert named <= known | set(options.groups()), named - known
    assert all(in_our_words(word) for word in ("n_embd", "per_device_train_batch_size", "fast_dev_run", "num_workers"))


def test_no_word_of_others_is_there_twice():
    from lmlab.config import other_words

    words = [
        word for words in (*other_words._BY_OPTION.values(), *other_words._WITHOUT.values()) for word in words.split()
    ]
    assert len(words) == len(set(words)), {word for word in words if words.count(word) > 1}
    offered = {option for group in options.groups() for option in options.options_of(group)}
    offered |= {"cuda", "32-true", "16-mixed", "bf16-mixed"}
    assert set(VALUES.values()) <= offered


@pytest.mark.parametrize(
    ("value", "choices", "expected"),
    [
        ("gpu", ["auto", "cpu", "cuda"], "cuda"),
        ("bf16", ["32-true", "bf16-mixed", "bf16-true"], "bf16-mixed"),
        (16, ["32-true", "16-mixed"], "16-mixed"),
        ("LSTM", ["lstm", "gru"], "lstm"),
        ("lstm", ["lstm", "lstm2"], "lstm2"),
    ],
)
def test_the_nearest_is_never_what_was_refused(value, choices, expected):
    assert nearest(value, choices) == f" (did you mean '{expected}'?)"
    assert nearest("lstm", ["lstm"]) == ""


@pytest.mark.parametrize("word", ["model=null", "model=None", "data=[a,b]", "optimizer=3"])
def test_what_cannot_choose_an_option_is_refused(word):
    with pytest.raises(UserError, match=re.escape(word)):
        checked_choices([word])


def test_no_choice_is_left_out_where_none_is_made_anyway():
    assert checked_choices(["experiment=None", "sweep=null", "model=gru", "-m"]) == ["model=gru", "-m"]


def _dotted(node, prefix=""):
    for key, value in node.items():
        yield f"{prefix}{key}"
        if isinstance(value, dict):
            yield from _dotted(value, f"{prefix}{key}.")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["model=lstm,gru", "model.mixer.heads=2"], "model.mixer.heads: no such option"),
        (["model=transformer", "model.mixer.heads=2,3"], "model.mixer.heads=3: must divide model.width=16"),
        (["model=transformer,gru", "optimizer.lr=1e-3,fast"], "optimizer.lr=fast: expected a number"),
        (["model=gru,lstm", "batch.size=2,4", "optimizer.lr=1e-3,-1,1e-2"], "optimizer.lr=-1: "),
        (["seed=1,2", "name=a/b"], "name='a/b': expected letters"),
        (
            ["sweep=random", "model=gru,lstm", "optimizer.momentum=interval(0.1,0.2)"],
            "optimizer.momentum: no such option",
        ),
    ],
)
def test_a_wrong_option_of_any_job_is_refused_before_the_first_trains(lmlab, small_task, tmp_path, words, message):
    done = lmlab("train", "-m", *small_task, *words, check=False)
    assert done.returncode == 1 and message in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr
    for folder in ("runs", "sweeps"):
        assert not list((tmp_path / "outputs").glob(f"{folder}/*")), "nothing has begun"


def test_every_value_that_can_be_wrong_by_itself_stands_with_every_architecture_in_some_checked_job():
    space = Space(["+model=a,b", "heads=1,2,3", "rate=interval(0.5,1.5)", "lr=0.1,0.3,0.2", "seed=range(1,1000)"])
    samples = [[dict(word.split("=") for word in words) for words in jobs] for jobs in space.samples()]
    assert [{one["+model"] for one in jobs} for jobs in samples] == [{"a"}, {"b"}] and len(samples[0]) == 3
    assert all({one["heads"] for one in jobs} == set("123") for jobs in samples)
    assert all({one["lr"] for one in jobs} == {"0.1", "0.3"} for jobs in samples)
    assert all({one["seed"] for one in jobs} == {"1", "999"} for jobs in samples)
    assert {one["rate"] for one in samples[0]} <= {"0.5", "1.5", "1.4999999999999998"}
    assert len(next(Space(["lr=0.1,nan,0.3,0.2"]).samples())) == 4


def test_no_message_repeats_where_it_comes_from():
    assert within("study.tune", "lr=1: wrong") == "study.tune: lr=1: wrong"
    for text in ("study.tune: wrong", "study.tune.lr=1: wrong", "study.tune=1: wrong"):
        assert within("study.tune", text) == text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run=a,b", "output=x.jsonl"], "output=x.jsonl: 2 jobs would write it, each over the one before; "),
        (["run=a,b", "output=x.jsonl,y.jsonl"], "output=x.jsonl: 2 jobs would write it"),
        (["run=a,b", "split=c,d", "output='${run}.jsonl'"], "as in output='${run}-${split}.jsonl'"),
        (["runs=a,b", "output=folder"], "as in output='${runs}'"),
    ],
)
def test_jobs_that_would_write_the_same_output_are_refused(words, message):
    with pytest.raises(UserError) as refused:
        check_output(["-m", *words])
    assert message in str(refused.value)


@pytest.mark.parametrize(
    "words",
    [
        ["run=a,b"],
        ["run=a", "output=x.jsonl"],
        ["run=a,b", "output='${run}.jsonl'"],
        ["run=a", "output=x,y"],
        ["output=("],
    ],
)
def test_jobs_with_an_output_each_are_accepted(words):
    check_output(["-m", *words])


def test_the_first_line_of_an_error():
    assert first_line(ValueError("one\ntwo")) == "one"
    assert first_line(ValueError()) == first_line(ValueError("\ntwo")) == "ValueError"
