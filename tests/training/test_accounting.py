from dataclasses import replace

import pytest
import torch

from lmlab.config.experiment import TrainerOptions
from lmlab.training import accounting as peak_module
from lmlab.training.accounting import peak
from lmlab.training.devices import reported_as

TRAINER = TrainerOptions({})
CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


@pytest.mark.parametrize(
    ("name", "half", "single"),
    [
        ("NVIDIA A100-SXM4-40GB", 312, 19.5),
        ("NVIDIA A100-SXM4-80GB", 312, 19.5),
        ("NVIDIA A100 80GB PCIe", 312, 19.5),
        ("NVIDIA H100 80GB HBM3", 989, 67),
        ("NVIDIA H100 PCIe", 756, 51),
        ("NVIDIA H200", 989, 67),
        ("NVIDIA B200", 2250, 75),
        ("NVIDIA L40S", 362, 91.6),
        ("NVIDIA GeForce RTX 4090", 165, 82.6),
        ("Tesla V100-SXM2-16GB", 125, 15.7),
        ("Tesla T4", 65, 8.1),
        ("AMD Instinct MI300X", 1307, 163.4),
    ],
)
def test_gpus_are_recognised_by_the_names_that_torch_gives_them(name, half, single):
    found = reported_as(name)
    assert (found.half, found.single) == (half, single)


@pytest.mark.parametrize(
    "name", ["NVIDIA H100 NVL", "NVIDIA H100 80GB HBM3 MIG 1g.10gb", "NVIDIA GeForce RTX 4090 Laptop GPU", "Tesla P100"]
)
def test_what_no_data_sheet_here_is_of_is_not_taken_for_something_else(name):
    assert reported_as(name) is None


@pytest.fixture
def measured(monkeypatch):
    """Speeds that are measured, one after another."""
    speeds = []
    monkeypatch.setattr(peak_module, "matrix_speed", lambda dtype, device: speeds.pop(0))
    return speeds


def test_a_cpu_is_measured_once_for_each_precision_and_number_of_threads(measured, tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    monkeypatch.setattr(peak_module, "hardware", lambda: {"host": "h", "processor": "p", "cores": 4})
    assert peak(TRAINER, CPU, tmp_path, worth_measuring=False) is None
    measured += [1e11, 4e11, 3e11]
    found = peak(TRAINER, CPU, tmp_path, worth_measuring=True)
    assert (found.flops, found.device, found.source) == (1e11, "p, 1 thread", "measured")
    assert peak(TRAINER, CPU, tmp_path, worth_measuring=False) == found
    several = peak(replace(TRAINER, devices=8, nodes=2), CPU, tmp_path, worth_measuring=True)
    assert several.flops == 8e11, "eight ranks have no more than the four cores of each machine"
    half = peak(replace(TRAINER, precision="bf16-mixed"), CPU, tmp_path, worth_measuring=True)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert (half.flops, peak(TRAINER, CPU, tmp_path, worth_measuring=True).flops) == (4e11, 3e11)
    assert not measured


def test_a_measurement_that_a_run_has_exceeded_is_taken_again(measured, tmp_path):
    measured += [1e11, 2e11, 1e10]
    peak(TRAINER, CPU, tmp_path, worth_measuring=True)
    assert peak(TRAINER, CPU, tmp_path, worth_measuring=True, at_least=1.5e11).flops == 2e11
    assert peak(TRAINER, CPU, tmp_path, worth_measuring=True, at_least=3e11) is None
    assert peak(TRAINER, CPU, tmp_path, worth_measuring=False).flops == 2e11, "the better measurement stays"


def test_a_gpu_of_the_table_is_not_measured_unless_it_lacks_the_precision(measured, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla T4")
    four = peak(replace(TRAINER, precision="16-mixed", devices=4), GPU, tmp_path, worth_measuring=True)
    assert (four.flops, four.device, four.source) == (4 * 65e12, "4 x NVIDIA T4", "data sheet")
    measured += [5e12]
    found = peak(replace(TRAINER, precision="bf16-mixed"), GPU, tmp_path, worth_measuring=True)
    assert (found.flops, found.device, found.source) == (5e12, "Tesla T4", "measured")
