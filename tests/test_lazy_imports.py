import fractions
import subprocess
import sys
from operator import attrgetter

import pytest

from lmlab.lazy_imports import Later

HEAVY = ("matplotlib", "scipy", "sympy.core", "torch._dynamo.utils", "torch.export.graph_signature", "transformers")

POSTPONED = f"""
import sys
from lmlab.lazy_imports import postpone
postpone()
import pytorch_lightning, torch, torchmetrics
layer = torch.nn.Linear(2, 2)
optimizer = torch.optim.AdamW(layer.parameters())
layer(torch.ones(2)).sum().backward()
optimizer.step()
network = torch.nn.LSTM(2, 2, device="meta")
network(torch.ones(3, 2, device="meta"))[0].sum().backward()
torch.optim.AdamW(network.parameters()).step()
print([name for name in {HEAVY} if name in sys.modules])
"""

USED_AFTERWARDS = """
from lightning_fabric.wrappers import OptimizedModule
print(isinstance(layer, OptimizedModule), "torch._dynamo.utils" in sys.modules)
compiled = torch.compile(layer, backend="eager")
print(isinstance(compiled, OptimizedModule), torch.equal(compiled(torch.ones(2)), layer(torch.ones(2))))
from torchmetrics.functional.audio import permutation_invariant_training, scale_invariant_signal_noise_ratio
speakers = torch.randn(1, 4, 100)  # with more than three, scipy finds the best permutation
_, best = permutation_invariant_training(speakers.roll(1, 1), speakers, scale_invariant_signal_noise_ratio)
print(best.tolist())
from torchmetrics.text import BERTScore
metric = torchmetrics.MeanMetric()
metric.update(2.0)
figure, axes = metric.plot()
import matplotlib.figure
print(isinstance(figure, matplotlib.figure.Figure))
"""


FROM_THREADS = """
import sys, threading
from lmlab.lazy_imports import postpone
postpone()
import torch
import torch._dynamo
start = threading.Barrier(9)
sizes = []

def use():
    start.wait()
    sizes.append(torch._dynamo.config.recompile_limit)

threads = [threading.Thread(target=use) for _ in range(8)]
for thread in threads:
    thread.start()
start.wait()
for number in range(100_000):  # as if others imported at the same time
    sys.modules[f"made_up_{number}"] = sys
for thread in threads:
    thread.join()
print(len(sizes), len(set(sizes)), type(torch._dynamo).__name__)
"""


SIZES_ARE_ANSWERED = """
import itertools
from lmlab.lazy_imports import _ANSWERS, SIZES, postpone
postpone()
import importlib, sys, torch
stand_in = importlib.import_module(SIZES)
asked = {
    name: [(value,) for value in (True, False)]
    for name in ("guard_or_false", "guard_or_true", "guard_size_oblivious", "statically_known_true", "expect_true")
}
asked["guarding_hint_or_throw"] = asked["has_guarding_hint"] = asked["is_nested_int"] = [(0,), (1,), (7,)]
asked["sym_and"] = asked["sym_or"] = [v for n in (1, 2, 3) for v in itertools.product((True, False), repeat=n)]
asked["sym_eq"] = [(1, 1), (1, 2), ((1, 2), [1, 2]), ((1, 2), (1, 3)), ((1, 2), (1,)), ((), ())]
assert asked.keys() == _ANSWERS.keys()
answers = {name: [getattr(stand_in, name)(*values) for values in of_it] for name, of_it in asked.items()}
print(sys.modules[SIZES] is stand_in, "sympy.core" in sys.modules)
stand_in.ShapeEnv
real = sys.modules[SIZES]
print(real is not stand_in, "sympy.core" in sys.modules)
print(answers == {name: [getattr(real, name)(*values) for values in of_it] for name, of_it in asked.items()})
symbol = torch.export.Dim("rows", min=2, max=9)
program = torch.export.export(torch.nn.Linear(2, 2), (torch.ones(3, 2),), dynamic_shapes=((symbol, 2),))
print(program.module()(torch.ones(5, 2)).shape)
"""


A_RUN_AT_WANDB = """
import sys
from lmlab.lazy_imports import postpone
postpone()
import wandb
from lmlab.wandb.mirror import set_up
set_up()
settings = wandb.Settings(console="off", silent=True, x_disable_stats=True)
with wandb.init(mode="offline", dir=sys.argv[1], settings=settings) as run:
    run.log({"loss": 1.0, "samples": wandb.Table(columns=["text"], data=[["a"]])})
print([name for name in ("pandas", "wandb.apis.public.api") if name in sys.modules])
print(wandb.Api.__name__, "wandb.apis.public.api" in sys.modules)
"""


def run(code: str, *arguments: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_lightning_and_an_optimizer_load_nothing_heavy():
    assert run(POSTPONED) == ["[]"]


@pytest.mark.slow
def test_what_was_postponed_works_once_it_is_used():
    lines = run(POSTPONED + USED_AFTERWARDS)
    assert lines == ["[]", "False False", "True True", "[[1, 2, 3, 0]]", "True"]


@pytest.mark.slow
def test_sizes_that_are_numbers_are_answered_as_by_the_real_module_and_export_works():
    assert run(SIZES_ARE_ANSWERED) == ["True False", "True True", "True", "torch.Size([5, 2])"]


@pytest.mark.slow
def test_a_run_at_wandb_loads_neither_pandas_nor_the_client_of_the_server(tmp_path):
    assert run(A_RUN_AT_WANDB, str(tmp_path)) == ["[]", "Api True"]


@pytest.mark.slow
def test_several_threads_may_use_what_was_postponed_at_once():
    assert run(FROM_THREADS) == ["8 1 module"]


def test_an_attribute_stands_for_the_one_of_the_loaded_module():
    fraction = Later("fractions", attrgetter("Fraction"))
    assert fraction(1, 2) == fractions.Fraction(1, 2)
    assert fraction.from_float(0.5) == fractions.Fraction(1, 2)
    assert isinstance(fractions.Fraction(1), fraction) and not isinstance(1, fraction)
    assert issubclass(fractions.Fraction, fraction)

    class Own(fraction): ...

    assert isinstance(Own(3), fractions.Fraction)


def test_nothing_is_an_instance_of_a_class_that_is_not_loaded():
    assert "antigravity" not in sys.modules
    nothing = Later("antigravity", attrgetter("Something"))
    assert not isinstance(1, nothing) and not issubclass(int, nothing)
    assert "antigravity" not in sys.modules
