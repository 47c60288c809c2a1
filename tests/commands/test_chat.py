"""A conversation is one text: an answer continues all that was said before it."""

import io
from types import SimpleNamespace

import pytest
import torch

from lmlab.commands import chat
from lmlab.commands.chat import Conversation
from lmlab.config.build import build
from lmlab.data.tokenizers import Byte
from lmlab.errors import UserError
from lmlab.models.decoding import Decoding, Row
from lmlab.models.generation import decode
from lmlab.training import load

CONTEXT, LENGTH = 64, 12
TURN = "You: {text}\nModel:"


@pytest.fixture
def trained(compose):
    config = compose("model=gru", "model.width=16", "model.depth=1")
    torch.manual_seed(3)
    model = build(config["model"], vocabulary=256, context=CONTEXT).eval()
    return SimpleNamespace(model=model, tokenizer=Byte(), context=CONTEXT)


def continued(trained, text: str, decoding: Decoding, seed: int) -> str:
    row = Row([trained.tokenizer.separator, *trained.tokenizer.encode(text).tolist()], seed)
    tokens = decode(trained.model, [row], decoding, CONTEXT)[0].tokens
    return trained.tokenizer.decode(torch.tensor(tokens).numpy())


def test_every_answer_continues_the_whole_text(trained):
    decoding = Decoding(temperature=0.7, length=LENGTH)
    conversation = Conversation(trained, decoding, "Hello.\n", TURN, seed=5)
    text = "Hello.\n"
    for number, line in enumerate(["one {text}", "two"]):
        answer = "".join(conversation.answer(line))
        text += f"You: {line}\nModel:"
        assert answer == continued(trained, text, decoding, 5 + number)
        text += f"{answer}\n"
        assert conversation.text == text


def test_an_interrupt_ends_the_answer_and_not_the_conversation(trained):
    conversation = Conversation(trained, Decoding(greedy=True, length=LENGTH), "", TURN, 1)
    answer = conversation.answer("one")
    part = next(answer) + next(answer)
    with pytest.raises(KeyboardInterrupt):
        answer.throw(KeyboardInterrupt)
    said = f"You: one\nModel:{part}\n"
    assert conversation.text == said
    text = f"{said}You: two\nModel:"
    assert "".join(conversation.answer("two")) == continued(trained, text, Decoding(greedy=True, length=LENGTH), 2)


def test_an_answer_ends_before_a_stop_string(trained):
    whole = continued(trained, "You: one\nModel:", Decoding(greedy=True, length=LENGTH), 1)
    stop = whole[4:6]
    conversation = Conversation(trained, Decoding(greedy=True, length=LENGTH, stop=(stop,)), "", TURN, 1)
    assert "".join(conversation.answer("one")) == whole[: whole.index(stop)]


def test_commands_in_the_conversation(trained, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(chat, "find", lambda *_: SimpleNamespace(path=tmp_path / "run"))
    monkeypatch.setattr(load, "load_trained", lambda *_: trained)
    monkeypatch.setattr("sys.stdin", io.StringIO("one\n\n/text\n/new\n/text\nlast"))
    options = {"opening": "", "turn": TURN, "stop": None, "length": 3, "temperature": 1.0, "top_k": None, "top_p": None}
    options |= {
        "greedy": True,
        "repetition_penalty": 1.0,
        "seed": 1,
        "checkpoint": "final",
        "accelerator": "cpu",
        "threads": 1,
    }
    chat.main(paths={name: str(tmp_path) for name in ("outputs", "runs", "cache")}, run="run", **options)
    greedy = Decoding(greedy=True, length=3)
    first, last = (continued(trained, f"You: {line}\nModel:", greedy, 1) for line in ("one", "last"))
    from lmlab.surroundings import printable

    shown = capsys.readouterr().out
    assert shown == printable(f"{first}\nYou: one\nModel:{first}\n\n\n{last}\n")


def test_a_turn_without_the_line_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"turn=hello: expected a text with \{text\}"):
        chat.main({}, "x", "", "hello", None, 3, 1.0, None, None, True, 1.0, 1, "final", "cpu", 1)
