import resource

from lmlab.training.callbacks import PeakMemory


def test_the_peak_of_an_earlier_attempt_counts_where_it_was_higher():
    here = PeakMemory()
    resident = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert resident <= here.bytes < 2 * resident
    here.load_state_dict({"bytes": 1 << 50})
    assert here.state_dict() == {"bytes": 1 << 50} and here.bytes == 1 << 50
    here.load_state_dict({"bytes": 1})
    assert here.bytes >= resident
