import os

from lmlab.runs.launch import warm_up


def test_a_server_that_is_started_leaves_this_process_s_environment_as_it_was():
    before = dict(os.environ)
    warm_up()
    assert dict(os.environ) == before
