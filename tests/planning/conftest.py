"""What tests of plans share: the same draws in every order of the tests, and what is allocated."""

import pytest
import torch


@pytest.fixture(autouse=True)
def same_draws():
    torch.manual_seed(0)


@pytest.fixture
def allocated():
    """What the allocator has handed out at most while something works, and what it still has out when that ends."""

    def watch(work):
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
            result = work()
        events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
        now = most = 0
        for event in sorted(events, key=lambda event: event.start_ns()):
            now += event.nbytes()
            most = max(most, now)
        del result
        return most, now

    return watch
