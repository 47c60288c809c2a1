import threading

import pytest

from lmlab.errors import Interrupted, UserError
from lmlab.processes import signals
from lmlab.processes.signals import in_background


def test_work_gets_all_texts_and_its_errors_are_raised():
    texts: list[str] = []
    in_background(texts.extend, ["a", "b"])
    assert texts == ["a", "b"]

    def refuse(_):
        raise UserError("no")

    with pytest.raises(UserError, match="no"):
        in_background(refuse, [])


def test_a_signal_is_answered_while_the_work_goes_on(monkeypatch):
    begun, end, texts = threading.Event(), threading.Event(), []

    def check():
        assert begun.wait(60)
        raise Interrupted("told to stop")

    def work(some):
        begun.set()
        end.wait(60)
        texts.extend(some)

    monkeypatch.setattr(signals, "check", check)
    with pytest.raises(Interrupted):
        in_background(work, ["a", "b"])
    assert texts == [], "it did not wait for the work"
    end.set()
    (thread,) = [thread for thread in threading.enumerate() if thread.name == "background"]
    thread.join()
    assert texts == [], "no more texts are read"
