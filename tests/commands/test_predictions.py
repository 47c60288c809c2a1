"""Runs scored on tasks of examples: predictions beside references, shots, other data, overlap."""

import json
import os
import re
import shlex
import shutil
from pathlib import Path

import pytest

from lmlab.commands.evaluate import score
from lmlab.commands.predictions import written_overlap
from lmlab.commands.scored_data import without_options_of_text
from lmlab.errors import UserError
from lmlab.runs.files import read_jsonl
from lmlab.runs.lookup import all_runs
from lmlab.runs.run import Run

ENGLISH = ["A dog runs.", "Two men sit on a bench.", "A girl reads a red book in the park today.", "The cat sleeps."]
GERMAN = [
    "Ein Hund rennt.",
    "Zwei Männer sitzen.",
    "Ein Mädchen liest heute im Park ein rotes Buch.",
    "Die Katze ruht.",
]
OPTIONS = ["data=multi30k", "tokenizer=byte", "batch.context=160", "validation.tokens=null"]


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    """A folder of corpora with a few translations, of which one of the validation split is a training example."""
    folder = tmp_path_factory.mktemp("corpora") / "multi30k"
    folder.mkdir()
    for name, order in (("train", [0, 1, 2, 3] * 3), ("val", [2, 1]), ("test_2016_flickr", [0, 1, 2, 3])):
        for language, sentences in (("en", ENGLISH), ("de", GERMAN)):
            changed = {1: f"{sentences[1]} Again."} if name == "val" else {}
            lines = [changed.get(number, sentences[number]) for number in order]
            (folder / f"{name}.{language}").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return folder.parent


@pytest.fixture(scope="module")
def trained(corpora, command_line, tmp_path_factory):
    """Outputs with a run on these translations and a run on text; not to be changed."""
    from conftest import SMALL

    folder = tmp_path_factory.mktemp("trained")
    text = folder / "book.txt"
    text.write_text("\n".join([*ENGLISH * 40, *GERMAN * 40]) + "\n", encoding="utf-8")
    variables = os.environ | {"LMLAB_OUTPUTS": str(folder / "outputs"), "LMLAB_CORPORA": str(corpora)}
    for words in (OPTIONS, ["data=text", f"data.paths={text}", "tokenizer=byte", "data.test=0"]):
        small = [word for word in SMALL if not word.startswith(("batch.context", "validation.tokens"))]
        done = command_line.run(["train", *small, "logger=[]", "model=lstm", *words], folder, variables, folder)
        assert done.returncode == 0, done.stderr
    return folder / "outputs"


@pytest.fixture
def paths(trained, corpora):
    return {
        "outputs": str(trained),
        "runs": str(trained / "runs"),
        "cache": str(trained / "cache"),
        "corpora": str(corpora),
    }


def run_on(outputs: Path, data: str) -> Run:
    return next(run for run in all_runs(outputs / "runs") if run.manifest["choices"]["data"] == data)


def test_predictions_are_beside_their_references_and_add_up_to_the_metrics(trained, corpora, lmlab):
    sacrebleu = pytest.importorskip("sacrebleu")
    run = run_on(trained, "multi30k")
    words = ["evaluate", f"run={run.path}", "accelerator=cpu", "threads=1"]
    for batch_size in (1, 3):
        done = lmlab(*words, f"batch_size={batch_size}", LMLAB_OUTPUTS=str(trained), LMLAB_CORPORA=str(corpora))
    line = next(line for line in done.stdout.splitlines() if line.startswith("Predictions: "))
    (path,) = shlex.split(line.removeprefix("Predictions: "))
    rows = [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]
    assert [row["number"] for row in rows] == [0, 1]
    assert [row["input"] for row in rows] == [
        f"Translate from English to German.\n{ENGLISH[2]}",
        f"Translate from English to German.\n{ENGLISH[1]} Again.",
    ]
    assert [row["references"] for row in rows] == [[GERMAN[2]], [f"{GERMAN[1]} Again."]]
    (recorded,) = [
        row for row in read_jsonl(run.path / "evaluations.jsonl") if row["settings"]["split"] == "validation"
    ]
    assert recorded["settings"] == {"split": "validation", "checkpoint": "final", "context": 160}
    predictions, references = [row["prediction"] for row in rows], [[row["references"][0] for row in rows]]
    chrf = sacrebleu.corpus_chrf(predictions, references).score
    assert recorded["metrics"]["answers"]["chrf"] == pytest.approx(chrf)
    for name in ("bleu", "chrf"):
        assert recorded["metrics"]["answers"][name] == run.manifest["metrics"][f"validation/{name}"]
    assert rows[0]["chrf"] == pytest.approx(sacrebleu.corpus_chrf(predictions[:1], [references[0][:1]]).score)
    about = recorded["predictions"]
    assert run.path / about["file"] == Path(path) and about["examples"] == 2
    assert "greedy" in about["decoding"] and len(about["intervals"]["chrf"]) == 2
    overlap = {"examples": 2, "equal": 1, "long_answers": 1, "answers": 1}
    assert {name: about["overlap"][name] for name in overlap} == overlap
    assert "1 of 2 examples are training examples" in done.stdout
    assert not run.foreign(), "the folder of the predictions is lmlab's own"


def recorded_by(run: Run) -> list[dict]:
    return read_jsonl(run.path / "evaluations.jsonl")


def test_other_settings_of_decoding_are_another_result(trained, paths, compose):
    run = run_on(trained, "multi30k")
    options = {"accelerator": "cpu", "threads": 1}
    usual, _, _ = score(run, paths, "test", **options)
    settings, _, about = score(run, paths, "test", decoding={"beams": 2, "length_penalty": 1.0}, **options)
    assert "decoding" not in usual and settings == usual | {"decoding": "beams=2 length_penalty=1.0 length=48"}
    assert about["predictions"]["decoding"] == settings["decoding"]
    assert [row["settings"] for row in recorded_by(run)][-2:] == [usual, settings]
    files = {row["predictions"]["file"] for row in recorded_by(run)}
    assert len(files) == len(recorded_by(run)) and all((run.path / file).is_file() for file in files)
    same, _, _ = score(run, paths, "test", decoding={"greedy": True}, **options)
    assert same == usual
    # Of other data, too, by the settings of their section as by those of the command.
    data = compose("data=multi30k", "data.source=de", "data.target=en", "data.decoding.beams=2")["data"]
    of_section, _, _ = score(run, paths, data=data, **options)
    of_command, _, _ = score(run, paths, data=data | {"decoding": None}, decoding={"beams": 2}, **options)
    assert of_section == of_command and of_section["decoding"] == "beams=2 length_penalty=0.0 length=48"
    plain, _, _ = score(run, paths, data=data, decoding={"greedy": True}, **options)
    assert plain == {name: value for name, value in of_section.items() if name != "decoding"}


def test_what_is_sampled_is_the_same_again(trained, paths):
    run = run_on(trained, "multi30k")
    options = {"decoding": {"temperature": 1.0, "length": 12}, "accelerator": "cpu", "threads": 1}
    texts = []
    for batch_size in (1, 3):
        settings, _, about = score(run, paths, "test", batch_size=batch_size, **options)
        texts.append([row["prediction"] for row in read_jsonl(run.path / about["predictions"]["file"])])
    assert settings["decoding"] == "temperature=1.0 length=12 seed=1" and texts[0] == texts[1]
    options["decoding"] = options["decoding"] | {"seed": 2}
    _, _, about = score(run, paths, "test", **options)
    assert texts[0] != [row["prediction"] for row in read_jsonl(run.path / about["predictions"]["file"])]


def test_an_input_is_answered_as_the_task_decodes_it(trained, corpora, lmlab):
    run, environment = run_on(trained, "multi30k"), {"LMLAB_OUTPUTS": str(trained), "LMLAB_CORPORA": str(corpora)}
    words = [f"run={run.path}", "accelerator=cpu", "threads=1"]
    lmlab("evaluate", *words, "split=test", "repetition_penalty=1.5", "output=out.jsonl", **environment)
    (file,) = {row["predictions"]["file"] for row in recorded_by(run) if "repetition" in str(row["settings"])}
    (prediction,) = [row["prediction"] for row in read_jsonl(Path(file)) if row["input"].endswith(ENGLISH[0])]
    line = ["format=jsonl", "repetition_penalty=1.5"]
    done = lmlab("generate", *words, f"input={ENGLISH[0]}", *line, **environment)
    answer = json.loads(done.stdout)
    assert answer["decoding"].startswith("greedy=true length=48 repetition_penalty=1.5")
    assert " ".join(answer["text"].split()) == prediction


def is_words_of(answer, text):
    return answer and re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", text) is not None


def test_answers_may_be_nothing_but_words_of_the_input(trained, corpora, paths, lmlab):
    run, environment = run_on(trained, "multi30k"), {"LMLAB_OUTPUTS": str(trained), "LMLAB_CORPORA": str(corpora)}
    options = {"accelerator": "cpu", "threads": 1}
    answers = {}
    for more in ({}, {"beams": 3}, {"temperature": 2.0}):
        settings, _, about = score(run, paths, "test", decoding={"extract": True, "length": 7, **more}, **options)
        assert settings["decoding"].startswith(("greedy=true ", "beams=3 ", "temperature=2.0 "))
        assert " extract=true length=7" in settings["decoding"]
        rows = read_jsonl(run.path / about["predictions"]["file"])
        answers[settings["decoding"]] = {row["input"].split("\n")[-1]: row["prediction"] for row in rows}
        for row in rows:
            assert is_words_of(row["prediction"], row["input"].split("\n")[1]), "not of the instruction"
        assert "words of the input at random" in about["baselines"]
    greedy = next(given for line, given in answers.items() if line.startswith("greedy"))
    words = ["generate", f"run={run.path}", "accelerator=cpu", "threads=1", "length=7", "format=jsonl"]
    done = lmlab(*words, f"input={ENGLISH[1]}", "extract=true", "end_of_document=false", **environment)
    assert json.loads(done.stdout)["text"] == greedy[ENGLISH[1]]
    _, _, about = score(run, paths, "test", decoding={"extract": True, "length": 7}, shots=1, context=400, **options)
    for row in read_jsonl(run.path / about["predictions"]["file"]):
        assert is_words_of(row["prediction"], row["input"].split("\n")[1]), "not of the shot"
    refused = lmlab(*words, "prompt=a", "extract=true", check=False, **environment)
    assert "extract=true: needs the input of a task" in refused.stderr


def test_a_long_input_is_cut_as_in_the_task(trained, lmlab, tmp_path):
    run, records = run_on(trained, "text"), tmp_path / "records.jsonl"
    text = " ".join([*ENGLISH * 3, *GERMAN * 3])
    records.write_text(json.dumps({"input": text, "answer": "x"}) + "\n", encoding="utf-8")
    options = ["data=records", f"data.paths={records}", "data.length=8", "data.template.truncation_side=right"]
    words = [f"run={run.path}", "accelerator=cpu", "threads=1", *options]
    lmlab("evaluate", *words, f"output={tmp_path / 'out.jsonl'}", LMLAB_OUTPUTS=str(trained))
    (row,) = read_jsonl(tmp_path / "out.jsonl")
    written = lmlab("generate", *words, f"input={text}", "format=jsonl", LMLAB_OUTPUTS=str(trained))
    context = run.experiment.batch.context
    assert f"input: the first {context - 9} of {len(text.encode()) + 1} tokens are read" in written.stderr
    assert " ".join(json.loads(written.stdout)["text"].split()) == row["prediction"]


def test_any_run_is_scored_on_any_task_and_any_corpus(trained, paths, corpora, lmlab, tmp_path):
    run, file = run_on(trained, "text"), tmp_path / "o.jsonl"
    words = ["evaluate", f"run={run.path}", "accelerator=cpu", "threads=1", "data=multi30k"]
    environment = {"LMLAB_OUTPUTS": str(trained), "LMLAB_CORPORA": str(corpora)}
    done = lmlab(*words, "data.source=de", "data.target=en", "split=test", f"output={file}", **environment)
    assert [row["references"] for row in read_jsonl(file)] == [[sentence] for sentence in ENGLISH]
    assert str(file) in done.stdout and "BLEU" in done.stdout
    *_, recorded = read_jsonl(run.path / "evaluations.jsonl")
    assert recorded["settings"]["data"].startswith("multi30k ") and recorded["predictions"]["file"] == str(file)
    assert recorded["measures"]["primary"] == "validation/bleu"
    # The run's training text contains the answers: whole sentences of eight words or more.
    overlap = recorded["predictions"]["overlap"]
    assert (overlap["long_answers"], overlap["answers"], overlap["equal"]) == (1, 1, 0)
    other = tmp_path / "other.txt"
    other.write_text("The cat sat on the mat.\n" * 200)
    done = lmlab(*words[:4], "data=text", f"data.paths={other}", "metrics=[fixed_window]", **environment)
    assert "bits/byte" in done.stdout and "text " in done.stdout


@pytest.mark.slow
def test_other_answers_to_the_run_s_own_examples_are_recorded_beside_its_score(trained, corpora, lmlab, tmp_path):
    run = Run(shutil.copytree(run_on(trained, "multi30k").path, tmp_path / "copy"))
    (run.path / "evaluations.jsonl").unlink(missing_ok=True)
    environment = {"LMLAB_OUTPUTS": str(trained), "LMLAB_CORPORA": str(corpora)}
    words = ["evaluate", f"run={run.path}", "accelerator=cpu", "threads=1", "split=test", "data=multi30k"]
    lmlab(*words[:-1], **environment)
    lmlab(*words, **environment)  # the same once more
    (own,) = read_jsonl(run.path / "evaluations.jsonl")
    assert own["settings"] == {"split": "test", "checkpoint": "final", "context": 160}
    decoded = {
        "data.length=3": "greedy=true length=3",
        "data.decoding.beams=3": "beams=3 length_penalty=0.0 length=48",
        "data.template.truncation_side=right": "greedy=true length=48 truncation_side=right",
    }
    for number, (option, line) in enumerate(decoded.items(), 2):
        lmlab(*words, option, **environment)
        rows = read_jsonl(run.path / "evaluations.jsonl")
        assert len(rows) == number and rows[0] == own, "the run's own score stays"
        assert rows[-1]["settings"]["decoding"] == line and rows[-1]["settings"]["data"].startswith("multi30k ")
    shown = lmlab(*words, "data.metrics=[f1]", **environment).stdout
    *_, last = read_jsonl(run.path / "evaluations.jsonl")
    assert "F1" in shown and last["measures"]["primary"] == "validation/f1" and "f1" in last["metrics"]["answers"]
    assert len({row["predictions"]["file"] for row in read_jsonl(run.path / "evaluations.jsonl")}) == 5


def test_another_context_makes_room_for_long_answers(trained, lmlab, tmp_path):
    run, records = run_on(trained, "text"), tmp_path / "records.jsonl"
    records.write_text(json.dumps({"input": "A dog", "answer": "runs"}) + "\n", encoding="utf-8")
    words = ["evaluate", f"run={run.path}", "accelerator=cpu", "threads=1", "data=records", f"data.paths={records}"]
    context = run.experiment.batch.context
    long = f"data.length={context + 8}"
    refused = lmlab(*words, long, check=False, LMLAB_OUTPUTS=str(trained))
    assert f"context={context}: a context of {context} tokens leaves no room" in refused.stderr
    for option in (f"context={context + 64}", "length=4"):
        lmlab(*words, long, option, f"output={tmp_path / 'out.jsonl'}", LMLAB_OUTPUTS=str(trained))
    before = records.read_bytes()
    refused = lmlab(*words, f"output={records}", check=False, LMLAB_OUTPUTS=str(trained))
    assert f"output={records}: is a file of data.paths; choose another" in refused.stderr
    assert records.read_bytes() == before


def test_files_without_a_training_split_are_scored(trained, corpora, lmlab, tmp_path):
    run, file = run_on(trained, "text"), tmp_path / "questions.jsonl"
    file.write_text("".join(f'{{"input": "{english}", "answer": "yes"}}\n' for english in ENGLISH))
    words = ["evaluate", f"run={run.path}", "accelerator=cpu", "threads=1", "data=records", "data.length=8"]
    environment = {"LMLAB_OUTPUTS": str(trained), "LMLAB_CORPORA": str(corpora)}
    for paths in (file, f"{{test: {file}}}"):
        output = tmp_path / "o.jsonl"
        lmlab(*words, f"data.paths={paths}", f"output={output}", **environment)
        assert [row["input"] for row in read_jsonl(output)] == ENGLISH
    failed = lmlab(*words, f"data.paths={file}", "shots=2", check=False, **environment)
    assert "shots=2: records has no training split to take examples from" in failed.stderr


def test_the_same_examples_are_before_every_prompt(trained, paths):
    from lmlab.commands.scored_data import open_recorded

    run = run_on(trained, "multi30k")
    task = open_recorded(run, paths).for_evaluation("test", 400)
    plain, shot = next(task.batches("test")), next(task.with_shots("test", 2).batches("test"))
    for before, after in zip(plain.tokens.numpy(), shot.tokens.numpy(), strict=True):
        text, longer = task.tokenizer.decode(before).rstrip("\n"), task.tokenizer.decode(after).rstrip("\n")
        assert longer.endswith(text) and longer.count("Translate from") == 3
        assert all(answer in GERMAN for answer in longer.split("\n")[3:-1:3])
    assert sorted(shot.targets[shot.targets >= 0].tolist()) == sorted(plain.targets[plain.targets >= 0].tolist())
    settings, scores, _ = score(run, paths, "test", shots=2, context=400, accelerator="cpu", threads=1)
    assert settings["shots"] == 2 and scores["answers"]["tokens"] == int((shot.targets >= 0).sum())


def test_options_of_a_text_go_to_other_data_only_if_they_are_set(compose):
    defaults = {"paths": None, "documents": None, "field": None, "on_error": "fail"}
    assert without_options_of_text(defaults) == defaults
    for data in ("wikitext2", "multi30k", "parity", "text"):
        section = compose(f"data={data}", "data.paths=a" if data == "text" else "+data.other=1")["data"]
        assert without_options_of_text(defaults | section) == section
    assert without_options_of_text(defaults | {"field": "a"} | section)["field"] == section["field"]
    parity = compose("data=parity")["data"]
    assert without_options_of_text(defaults | {"field": "a"} | parity) == {"field": "a"} | parity


@pytest.mark.slow
def test_a_mixture_is_scored_by_part(trained, paths, corpora, lmlab, tmp_path):
    from conftest import SMALL

    text = trained.parent / "book.txt"
    environment = {"LMLAB_OUTPUTS": str(tmp_path / "outputs"), "LMLAB_CORPORA": str(corpora)}
    small = [word for word in SMALL if not word.startswith(("batch.context", "validation.tokens", "data"))]
    words = [f"+data.parts.text={{paths: {text}, test: 0}}", "data.weights={multi30k: 1, text: 1}"]
    lmlab("train", *small, "logger=[]", "model=lstm", "data=mixture", *words, *OPTIONS[1:], **environment)
    (run,) = all_runs(tmp_path / "outputs" / "runs")
    words = ["evaluate", f"run={run.path}", "accelerator=cpu", "threads=1", "metrics=[fixed_window]"]
    done = lmlab(*words, **environment)
    first, second = read_jsonl(run.path / "evaluations.jsonl")
    assert first["settings"] == {"split": "multi30k", "checkpoint": "final", "context": 160}
    assert first["metrics"]["answers"]["bleu"] == run.manifest["metrics"]["multi30k/bleu"]
    rows = read_jsonl(run.path / first["predictions"]["file"])
    assert [row["references"] for row in rows] == [[GERMAN[2]], [f"{GERMAN[1]} Again."]]
    assert rows[0]["input"].endswith(ENGLISH[2]) and "1 of 2 examples are training examples" in done.stdout
    assert second["settings"]["split"] == "text" and set(second["metrics"]) == {"fixed_window"}
    assert second["metrics"]["fixed_window"]["loss"] == pytest.approx(run.manifest["metrics"]["text/loss"], rel=1e-4)
    # The test split of each part that has one, and one of the parts as other data.
    done = lmlab(*words, "split=test", **environment)
    assert "text has no test split" in done.stdout
    *_, third = read_jsonl(run.path / "evaluations.jsonl")
    assert third["settings"] == {"split": "multi30k:test", "checkpoint": "final", "context": 160}
    lmlab(*words, "data=multi30k", "split=test", **environment)
    *_, alone = read_jsonl(run.path / "evaluations.jsonl")
    assert alone["settings"]["data"].startswith("multi30k ") and alone["metrics"] == third["metrics"]
    done = lmlab(*words, "beams=2", **environment)
    assert "without text, which has no such answers" in done.stdout
    *_, searched = read_jsonl(run.path / "evaluations.jsonl")
    assert searched["settings"] == first["settings"] | {"decoding": "beams=2 length_penalty=0.0 length=48"}
    refused = lmlab(*words, "split=tset", check=False, **environment)
    assert refused.returncode == 1 and "split=tset: no part of the mixture has such a split (did you" in refused.stderr


def test_what_cannot_be_scored_is_refused(trained, paths, compose):
    on_text, on_examples = run_on(trained, "text"), run_on(trained, "multi30k")
    parity, multi30k = compose("data=parity")["data"], compose("data=multi30k")["data"]
    for run, data, options, message in (
        (on_examples, None, {"shots": 2}, "shots=2: these examples have .* context=160 leaves 0 for a prompt"),
        (on_examples, None, {"shots": 13, "context": 4000}, "shots=13: the training split of multi30k has 12"),
        (on_examples, None, {"shots": -1}, "shots=-1: expected at least 0"),
        (on_text, None, {"shots": 1}, "shots=1: only tasks of examples"),
        (on_text, None, {"output": Path("o.jsonl")}, "output=o.jsonl: is for generated answers"),
        (on_text, parity, {}, "data=parity: is a generated task, whose symbols the tokenizer of .*Byte.* does not"),
        (
            on_text,
            compose("data=multi30k")["data"] | {"source": "dex"},
            {},
            r"no multi30k/train.dex \(languages .* de, en",
        ),
        (on_text, None, {"decoding": {"beams": 4}}, "beams=4: is for answers that a model generates"),
        (on_examples, None, {"decoding": {"length_penalty": 0.6}}, "length_penalty=0.6: is for beam search; choose"),
        (on_examples, None, {"decoding": {"length": 159}}, "^length=159: a context of 160 tokens leaves no room"),
        (on_examples, None, {"context": 12}, "^context=12: a context of 12 tokens leaves no room .* at least"),
        (on_text, multi30k, {"split": "tset"}, r"split=tset: .*\(did you mean 'test'"),
    ):
        before = (run.path / "evaluations.jsonl").exists() and read_jsonl(run.path / "evaluations.jsonl")
        with pytest.raises(UserError, match=message):
            score(run, paths, data=data, accelerator="cpu", threads=1, **options)
        assert before == ((run.path / "evaluations.jsonl").exists() and read_jsonl(run.path / "evaluations.jsonl"))


def test_the_tokenizer_of_the_run_cannot_be_replaced(trained, lmlab):
    run = run_on(trained, "text")
    refused = lmlab("evaluate", f"run={run.path}", "data=multi30k", "tokenizer=byte", check=False)
    assert refused.returncode == 1 and "tokenizer=byte: a run has its own tokenizer" in refused.stderr
    refused = lmlab("evaluate", f"run={run.path}", "data=multi30k", "prompts=p.jsonl", check=False)
    assert "data=multi30k: cannot be combined with prompts=p.jsonl" in refused.stderr


def test_scores_are_kept_if_the_search_for_their_answers_is_interrupted(trained, paths, tmp_path, monkeypatch):
    run = Run(shutil.copytree(run_on(trained, "multi30k").path, tmp_path / "copy"))
    (run.path / "evaluations.jsonl").unlink(missing_ok=True)

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("lmlab.commands.evaluate.overlap_with_training", interrupted)
    with pytest.raises(KeyboardInterrupt):
        score(run, paths, accelerator="cpu", threads=1)
    (recorded,) = read_jsonl(run.path / "evaluations.jsonl")
    assert recorded["metrics"]["answers"].keys() >= {"bleu", "chrf"}
    assert len(read_jsonl(run.path / recorded["predictions"]["file"])) == 2
    overlap = recorded["predictions"]["overlap"]
    assert written_overlap(overlap) == "not counted: the search of the training text was interrupted"
    monkeypatch.undo()
    score(run, paths, accelerator="cpu", threads=1)
    (again,) = read_jsonl(run.path / "evaluations.jsonl")
    assert again["metrics"] == recorded["metrics"] and again["predictions"]["overlap"]["equal"] == 1


def test_an_overlap_that_cannot_be_counted_says_why():
    assert written_overlap({"unknown": "its text is gone"}) == "not counted: its text is gone"
