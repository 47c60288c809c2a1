import sys
from types import SimpleNamespace

import pytest
import torch

from lmlab.training.callbacks import clock


def zone(folder, number, name, microjoules, most=1_000_000):
    path = folder / f"intel-rapl:{number}"
    path.mkdir()
    (path / "name").write_text(f"{name}\n")
    (path / "energy_uj").write_text(f"{microjoules}\n")
    (path / "max_energy_range_uj").write_text(f"{most}\n")
    return path / "energy_uj"


def test_packages_are_added_up_past_the_end_of_their_counters_and_their_parts_are_not(tmp_path):
    first = zone(tmp_path, "0", "package-0", 900_000)
    second = zone(tmp_path, "1", "package-1", 5, most=500_000)
    core, psys = zone(tmp_path, "0:0", "core", 0), zone(tmp_path, "2", "psys", 0)
    meter = clock.packages(tmp_path)
    began = meter()
    for file, value in ((first, 950_000), (core, 40_000), (psys, 999_999), (second, 400_005)):
        file.write_text(str(value))
    assert meter() - began == pytest.approx(0.05 + 0.4)
    first.write_text("20000")  # 50 mJ to the end and 20 mJ from the beginning
    second.write_text("400005")
    assert meter() - began == pytest.approx(0.05 + 0.4 + 0.07)
    first.write_text("900000")
    assert meter() - began == pytest.approx(0.05 + 0.4 + 0.07 + 0.88)


def test_what_is_not_there_or_may_not_be_read_is_not_measured(tmp_path):
    assert clock.packages(tmp_path / "nowhere") is None
    zone(tmp_path, "0", "package-0", 1).unlink()
    assert clock.packages(tmp_path) is None
    assert clock.meter(torch.device("meta"), 0) is None


def test_packages_are_read_by_the_first_rank_of_a_node(tmp_path, monkeypatch):
    file = zone(tmp_path, "0", "package-0", 0)
    monkeypatch.setattr(clock, "POWERCAP", tmp_path)
    meters = [clock.meter(torch.device("cpu"), rank) for rank in (0, 1)]
    began = [meter() for meter in meters]
    file.write_text("250000")
    assert [meter() - before for meter, before in zip(meters, began, strict=True)] == [0.25, 0.0]


def test_a_gpu_is_found_by_its_own_number_and_read_in_joules(monkeypatch):
    counts = {"GPU-aaaa": 1_500, "GPU-bbbb": 7_250}
    library = SimpleNamespace(
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=lambda uuid: uuid,
        nvmlDeviceGetTotalEnergyConsumption=lambda handle: counts[handle],
    )
    monkeypatch.setitem(sys.modules, "pynvml", library)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid="bbbb"))
    meter = clock.meter(torch.device("cuda", 0), 3)
    assert meter() == 7.25
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid="cccc"))
    assert clock.meter(torch.device("cuda", 0), 0) is None  # a part of a GPU has no count of its own
