"""``lmlab dashboard`` from its start to its end."""

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

pytest.importorskip("uvicorn", reason="needs the extra: pip install 'lmlab[report]'")
from lmlab.commands.dashboard import link, listen, main
from lmlab.errors import UserError


def test_a_port_that_is_taken_is_one_clear_line(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=rf"port={port}: is in use by another program \(port=0 takes any"):
            listen("127.0.0.1", port)
    with pytest.raises(UserError, match="host=nowhere.invalid: is no address of this machine"):
        listen("nowhere.invalid", 0)
    with pytest.raises(UserError, match="host=192.0.2.1: cannot listen there"):
        listen("192.0.2.1", 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"port": 70_000}, r"port=70000: expected 0 \(any free one\) to 65535"),
        ({"token": "short"}, "token: expected at least 16 characters"),
        ({"host": "0.0.0.0", "token": ""}, "token: expected at least 16 characters"),
    ],
)
def test_options_that_cannot_be_are_one_clear_line(options, message):
    with pytest.raises(UserError, match=message):
        main(**({"paths": {"outputs": "x"}, "host": "127.0.0.1", "port": 0, "token": None} | options))


def test_a_package_that_is_missing_is_named_with_its_extra(monkeypatch):
    monkeypatch.setattr("lmlab.commands.dashboard.find_spec", lambda name: None if name == "uvicorn" else True)
    with pytest.raises(UserError, match=r"uvicorn: missing \(pip install 'lmlab\[report\]'\)"):
        main({"outputs": "x"}, "127.0.0.1", 0, None)


def test_links_can_be_opened():
    assert link("127.0.0.1", 80, None) == "http://127.0.0.1:80/"
    assert link("::1", 80, None) == "http://[::1]:80/"
    assert link("0.0.0.0", 80, "t") == f"http://{socket.gethostname()}:80/?token=t"


@pytest.mark.slow
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
@pytest.mark.parametrize("told", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_it_is_told_to_end_and_ends_quietly(tmp_path, host, told):
    command = [sys.executable, "-m", "lmlab", "dashboard", f"host={host}", "port=0"]
    environment = os.environ | {"LMLAB_OUTPUTS": str(tmp_path / "outputs"), "COLUMNS": "200"}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, **streams) as process:
        try:
            line = process.stdout.readline()
            port, token = re.search(r"Dashboard: http://\S+?:(\d+)/(\?token=\S{40,})?", line).groups()
            assert (token is not None) == (host == "0.0.0.0"), line
            address = f"http://127.0.0.1:{port}/"
            if token:
                with pytest.raises(urllib.error.HTTPError, match="401"):
                    urllib.request.urlopen(address, timeout=60)
            cookies = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
            assert "<title>lmlab</title>" in cookies.open(address + (token or ""), timeout=60).read().decode()
            process.send_signal(told)
            said, errors = process.communicate(timeout=100)
        finally:
            process.kill()
    assert (said, errors) == ("", "")
    assert process.returncode == (0 if told == signal.SIGINT else -signal.SIGTERM)
