"""Memory that a process frees and uses again."""

import os
import resource
import sys

import pytest
import torch

from lmlab.training.allocator import keep_freed_memory


def faults_of_a_step() -> int:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    held = [torch.ones(1 << 20) for _ in range(20)]  # 4 MB each
    held.clear()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(not hasattr(os, "confstr") or "CS_GNU_LIBC_VERSION" not in os.confstr_names, reason="not glibc")
def test_a_step_needs_no_fresh_pages_once_one_has_freed_as_many(monkeypatch):
    for name in [name for name in os.environ if name.startswith(("MALLOC_", "GLIBC_TUNABLES"))]:
        monkeypatch.delenv(name)
    child = os.fork()  # what is set stays set
    if child == 0:
        done = keep_freed_memory()
        first, _, third = faults_of_a_step(), faults_of_a_step(), faults_of_a_step()
        os._exit(0 if done and third < max(200, first // 10) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize("name", ["MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES"])
def test_what_the_environment_says_is_left_alone(monkeypatch, name):
    monkeypatch.setenv(name, "131072")
    assert not keep_freed_memory()


def test_other_systems_are_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not keep_freed_memory()
