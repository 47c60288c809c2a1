"""The short runs whose results are recorded in ``tests/golden``: what is trained, and what is asked of the run then.

An entry is one ``lmlab train`` of four optimizer steps, or a sweep of such runs, and the commands that follow it. The
first part of its name is the file that it is recorded in.
"""

import random
from dataclasses import dataclass
from pathlib import Path

SMALL = (
    "model.width=16",
    "model.depth=2",
    "batch.size=4",
    "batch.context=16",
    "budget.tokens=256",  # four steps
    "validation.times=1",
    "validation.tokens=256",
    "callbacks.samples.length=8",
    "log_every=1",
    "trainer=cpu",
    "trainer.threads=1",
    "progress=false",
    "logger=[]",
)
TEXT = ("data=text", "data.paths=prose.txt", "tokenizer=byte")
TASK = ("data=fuzzy_in_context_recall", "data.longer=2")
"""Its rows have unequal numbers of answers."""

MODELS: dict[str, tuple[str, ...]] = {
    "custom": (),
    "rnn": (),
    "gru": (),
    "lstm": (),
    "awd_lstm": ("model.depth=1",),
    "awd_lstm_mos": ("model.depth=1", "model.head.components=2"),
    "min_gru": (),
    "min_lstm": (),
    "hawk": (),
    "griffin": ("model.depth=3", "+model.mixers.sliding_window_attention.window=4"),
    "mamba2": (),
    "gated_deltanet": (),
    "hybrid": ("model.depth=3",),
    "mlstm": (),
    "slstm": (),
    "xlstm": ("model.depth=4",),
    "gpt2": (),
    "llama": (),
    "moe": (),
    "sliding_window": ("model.mixer.window=4",),
    "transformer": (),
    "transformer_2017": (),
    "hf": (),
}
"""The files of ``conf/model``, each with what makes it small."""

FIXED_POSITIONS = ("gpt2", "hf")
"""Models that read no longer sequences than those of training."""

OBJECTIVES = ("cross_entropy", "brier")
OPTIMIZERS = ("adam", "adamw", "muon", "nt_asgd", "sgd")
SCHEDULERS = ("constant", "cooldown", "cosine", "inverse_sqrt", "linear", "plateau", "wsd")
BLOCKS = ("classic", "parallel", "postnorm", "prenorm")
TASKS = (
    "compression",
    "copying",
    "dyck",
    "in_context_recall",
    "induction_heads",
    "mad_selective_copying",
    "memorization",
    "modular_arithmetic",
    "modular_arithmetic_brackets",
    "noisy_in_context_recall",
    "parity",
    "permutations",
    "recall",
    "reversal",
    "selective_copying",
    "small_recall",
)


@dataclass(frozen=True)
class Entry:
    """A run or a sweep, and what is recorded of it.

    Args:
        name: ``<file>/<rest>``.
        train: overrides of ``lmlab train``, besides ``SMALL``.
        before: overrides of a run that is trained first; ``PARENT`` in ``train`` is its id.
        generates: also record texts that it generates, greedily and sampled, with their log-probabilities.
        evaluations: also record the scores of ``lmlab evaluate`` with these options.
        command: ``train`` or ``study``.
        several: it is a sweep or a study.
    """

    name: str
    train: tuple[str, ...]
    before: tuple[str, ...] = ()
    generates: bool = False
    evaluations: tuple[str, ...] = ()
    command: str = "train"
    several: bool = False

    @property
    def words(self) -> tuple[str, ...]:
        """All overrides of the command."""
        own_budget = "sweep=halving" in self.train
        return (*(word for word in SMALL if not (own_budget and word.startswith("budget."))), *self.train)

    @property
    def is_text(self) -> bool:
        return "data=text" in self.train


def write_prose(path: Path) -> None:
    """Write 20 kB of made-up prose, the same on every machine."""
    draw = random.Random(0)
    words = ["the", "cat", "sat", "on", "a", "mat", "and", "saw", "two", "birds", "über", "every", "tree"]
    path.write_text("".join(" ".join(draw.choices(words, k=8)) + ".\n" for _ in range(500)), encoding="utf-8")


def _models() -> list[Entry]:
    entries = []
    for model, options in MODELS.items():
        task = (*TASK[:1], "data.longer=null") if model in FIXED_POSITIONS else TASK
        for objective in OBJECTIVES:
            for data, words in (("text", TEXT), ("task", task)):
                train = (f"model={model}", f"objective={objective}", *words, *options)
                # Each model generates text and symbols once.
                generates = (objective == "cross_entropy") == (data == "text")
                entries.append(Entry(f"model/{model}/{objective}/{data}", train, generates=generates))
    for architecture in ("llama", "mamba2"):
        train = ("model=hf", f"model.architecture={architecture}", *TEXT)
        entries.append(Entry(f"model/hf/{architecture}", train, generates=True))
    return entries


def _parts() -> list[Entry]:
    """Mixers, channels, blocks, heads and options of models that no file of ``conf/model`` has."""
    prenorm = ("model=custom", "block=prenorm", "channel=mlp", *TEXT)
    lists: dict[str, tuple[str, ...]] = {f"block/{block}": (*prenorm, f"block={block}") for block in BLOCKS}
    lists["block/classic"] = ("model=custom", "block=classic", "channel=none", *TEXT)
    for channel in ("geglu", "mlp", "moe", "none", "relu_mlp", "swiglu"):
        lists[f"channel/{channel}"] = (*prenorm, "mixer=gru", f"channel={channel}")
    lists["channel/moe_balance"] = (*prenorm, "channel=moe", "model.channel.balance=1.0", "model.channel.experts=4")
    lists["head/mixture_of_softmaxes"] = (*prenorm, "head=mixture_of_softmaxes", "model.head.components=3")
    lists["head/mixture_of_softmaxes_whole"] = (
        *lists["head/mixture_of_softmaxes"],
        "model.head.factorised=false",
        "model.tie_embeddings=false",
    )
    lists["head/bias"] = (*prenorm, "model.head.bias=true", "model.tie_embeddings=false")
    mixers = {
        "attention": ("attention",),
        "attention_bias": ("attention", "model.mixer.bias=true", "model.mixer.query_key_norm=true"),
        "attention_kv_heads": ("attention", "model.mixer.kv_heads=1", "model.mixer.heads=2"),
        "rotary_attention": ("rotary_attention", "model.mixer.rotary_base=100"),
        "grouped_query_attention": ("grouped_query_attention",),
        "sliding_window_attention": ("sliding_window_attention", "model.mixer.window=4"),
        "awd_lstm_no_dropout": ("awd_lstm", *(f"model.mixer.{kind}_dropout=0" for kind in _AWD)),
        "gated_deltanet_chunks": ("gated_deltanet", "model.mixer.chunk_length=4"),
        "gated_deltanet_negative": ("gated_deltanet", "model.mixer.negative_eigenvalues=true", "model.mixer.taps=2"),
        "mamba2_chunks": ("mamba2", "model.mixer.chunk_length=4", "model.mixer.heads=4", "model.mixer.groups=2"),
        "min_gru_linear": ("min_gru", "model.mixer.candidate=linear", "model.mixer.taps=4"),
        "min_lstm_linear": ("min_lstm", "model.mixer.candidate=linear", "model.mixer.forget_bias=1"),
        "mlstm_chunks": ("mlstm", "model.mixer.chunk=4", "model.mixer.heads=2"),
        "rg_lru": ("rg_lru", "model.mixer.heads=2"),
        "slstm": ("slstm", "model.mixer.heads=2"),
    }
    for name, (mixer, *options) in mixers.items():
        lists[f"mixer/{name}"] = (*prenorm, f"mixer={mixer}", *options)
    options_of_models = {
        "positions_learned": ("model=lstm", "model.positions=learned"),
        "positions_sinusoidal": ("model=transformer", "model.positions=sinusoidal"),
        "untied": ("model=lstm", "model.tie_embeddings=false"),
        "scaled": ("model=transformer", "model.scale_embedding=true"),
        "pattern": ("model=custom", "block=prenorm", "model.pattern=[gru+mlp,attention+swiglu]"),
        "solved_size": ("model=transformer", "model.parameters=20k", "model.parameters_within=0.2"),
        "dropout": ("model=lstm", "model.dropout=0.2"),
        "dropout_attention": ("model=gpt2", "model.dropout=0.2"),
        "dropout_variational": ("model=lstm", "model.dropout=0.2", "model.variational_dropout=true"),
        "dropout_embedding": ("model=transformer", "model.embedding_dropout=0.2"),
        "dropout_hf": ("model=hf", "model.dropout=0.2"),
    }
    lists |= {f"options/{name}": (*words, *TEXT) for name, words in options_of_models.items()}
    return [Entry(f"parts/{name}", words) for name, words in lists.items()]


_AWD = ("weight", "input", "hidden", "output")


def _training() -> list[Entry]:
    """Optimizers, schedules, objectives, callbacks and how batches are made and shared."""
    lstm, often = ("model=lstm", *TEXT), ("validation.times=4", "optimizer=sgd", "optimizer.lr=0.5")
    lists: dict[str, tuple[str, ...]] = {}
    for optimizer in OPTIMIZERS:
        lists[f"optimizer/{optimizer}"] = ("model=transformer", *TEXT, f"optimizer={optimizer}")
    lists["optimizer/sgd_momentum"] = (*lstm, "optimizer=sgd", "optimizer.momentum=0.9", "optimizer.weight_decay=0.1")
    lists["optimizer/nt_asgd_averages"] = (*lstm, *often, "optimizer=nt_asgd", "optimizer.patience=1")
    for scheduler in SCHEDULERS:
        lists[f"scheduler/{scheduler}"] = (*lstm, "validation.times=4", f"scheduler={scheduler}")
    lists["scheduler/plateau_reduces"] = (*lstm, *often, "scheduler=plateau", "scheduler.threshold=100")
    lists["scheduler/warmup"] = (*lstm, "scheduler=wsd", "scheduler.warmup=2", "scheduler.decay=2")
    lists["objective/label_smoothing"] = (*lstm, "objective.label_smoothing=0.1")
    lists["objective/label_smoothing_task"] = ("model=lstm", *TASK, "objective.label_smoothing=0.1")
    lists["callbacks/ema"] = (*lstm, *often, "callbacks=ema", "callbacks.ema.decay=0.5")
    lists["callbacks/early_stopping"] = (
        *lstm,
        *often,
        "callbacks=early_stopping",
        "callbacks.early_stopping.patience=1",
        "callbacks.early_stopping.min_delta=100",
    )
    lists["batch/carry_state"] = (*lstm, "batch.carry_state=true")
    lists["batch/seed"] = (*lstm, "seed=7", "model.dropout=0.1")
    lists["batch/no_clipping"] = (*lstm, "trainer.gradient_clip=null")
    lists["batch/clipping"] = (*lstm, "trainer.gradient_clip=0.1")
    lists["batch/recomputed"] = ("model=transformer", *TEXT, "trainer.activation_checkpointing=true")
    lists["batch/bfloat16"] = ("model=transformer", *TEXT, "trainer.precision=bf16-mixed")
    entries = [Entry(f"training/{name}", words) for name, words in lists.items()]

    ranks = ("trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu")
    micro = ("trainer.accumulate=2",)
    experts = ("model=moe", "model.channel.experts=4")
    return [
        *entries,
        Entry("micro/text", (*lstm, *micro)),
        Entry("micro/text_dropout", (*lstm, *micro, "model.dropout=0.1")),
        Entry("micro/text_moe", (*experts, *TEXT, *micro)),
        Entry("micro/task", ("model=lstm", *TASK, *micro)),
        Entry("micro/task_brier", ("model=lstm", "objective=brier", *TASK, *micro)),
        Entry("micro/task_transformer", ("model=transformer", *TASK, "trainer.accumulate=4")),
        Entry("micro/task_moe", (*experts, *TASK, *micro)),
        Entry("micro/text_two_ranks", (*lstm, *ranks)),
        Entry("micro/task_two_ranks", ("model=lstm", *TASK, *ranks)),
        Entry("micro/task_one_answer", ("model=lstm", "data=parity", "data.answers=last", *micro)),
    ]


def _data() -> list[Entry]:
    lists: dict[str, tuple[str, ...]] = {
        f"task/{task}": (f"data={task}", *(("data.copied=4",) if "selective" in task else ())) for task in TASKS
    }
    lists["tokenizer/byte"] = TEXT
    lists["tokenizer/character"] = (*TEXT, "tokenizer=character")
    lists["tokenizer/word"] = (*TEXT, "tokenizer=word")
    lists["tokenizer/word_unknown"] = (*TEXT, "tokenizer=word", "tokenizer.size=9")
    lists["tokenizer/bpe"] = (*TEXT, "tokenizer=bpe", "tokenizer.size=290")
    lists["tokenizer/symbols"] = ("data=parity", "tokenizer.size=2")
    lists["split/shares"] = (*TEXT, "data.validation=0.2", "data.test=0")
    questions = ("data.operations=[addition,spelling]", "data.examples=60", "data.scored=8", "data.length=6")
    lists["examples/arithmetic"] = ("data=arithmetic", *questions, "tokenizer=byte", "batch.context=32")
    parts = ("data.weights={arithmetic: 1, text: 2}", "+data.parts.text.paths=prose.txt")
    of_parts = (f"+data.parts.arithmetic.{word.removeprefix('data.')}" for word in questions)
    lists["mixture/text_and_arithmetic"] = ("data=mixture", *parts, *of_parts, "tokenizer=byte", "batch.context=32")
    entries = [Entry(f"data/{name}", ("model=lstm", *words)) for name, words in lists.items()]
    return [
        Entry(one.name, one.train, generates=True) if one.name.startswith("data/tokenizer/") else one for one in entries
    ]


def _afterwards() -> list[Entry]:
    """Return the entries of commands on finished runs."""
    often = ("validation.times=4", "callbacks.checkpoint.keep=null")
    every_way = ("split=test", "split=train context=8 stride=3 streams=2", "data.paths=other.txt metrics=[stateful]")
    constant = ("scheduler=constant", "batch.carry_state=true")
    going_on = ("start.run=PARENT", "start.optimizer=true", "scheduler=cooldown", "batch.carry_state=true")
    text = {model: (f"model={model}", *TEXT) for model in ("lstm", "transformer", "gpt2")}
    return [
        Entry("runs/evaluate/lstm", text["lstm"], evaluations=every_way),
        Entry("runs/evaluate/transformer", text["transformer"], evaluations=every_way),
        Entry("runs/evaluate/gpt2", text["gpt2"], evaluations=("split=test metrics=[fixed_window]",)),
        Entry("runs/evaluate/task", ("model=lstm", *TASK), evaluations=("split=longer", "split=validation context=12")),
        Entry(
            "runs/evaluate/checkpoints",
            (*text["lstm"], *often),
            evaluations=("checkpoint=best", "checkpoint=2", "average=2"),
        ),
        Entry(
            "runs/evaluate/ema",
            (*text["lstm"], "callbacks=ema", "callbacks.ema.decay=0.5"),
            evaluations=("checkpoint=ema",),
        ),
        Entry("runs/start", (*text["lstm"], *going_on), before=(*text["lstm"], *constant)),
        Entry("runs/start_weights", (*text["lstm"], "start.run=PARENT", "optimizer.lr=1e-4"), before=text["lstm"]),
        Entry(
            "runs/start_checkpoint",
            (*text["lstm"], "start.run=PARENT", "start.checkpoint=2"),
            before=(*text["lstm"], *often),
        ),
    ]


def _sweeps() -> list[Entry]:
    rates = ("optimizer.lr=tag(log,interval(1e-4,1e-2))", "model=lstm", *TEXT)
    lists: dict[str, tuple[str, ...]] = {
        "grid": ("-m", "model=lstm,transformer", "seed=1,2", *TEXT),
        "zip": ("-m", "model=lstm", "sweep.zip=[model.width,optimizer.lr]", "optimizer.lr=1e-2,1e-3", *TEXT),
        "conditional": ("-m", "model=lstm,transformer", "model.mixer.heads=1,2", *TEXT),
        "equal_size": ("-m", "model=gru,transformer", "model.parameters=10k", "model.parameters_within=0.1", *TEXT),
        "random": ("sweep=random", "sweep.trials=2", *rates),
        "optuna": ("sweep=optuna", "sweep.trials=2", *rates),
        "halving": ("sweep=halving", "sweep.trials=3", "sweep.tokens=64", *rates),
    }
    lists["zip"] = (*lists["zip"], "model.width=16,32")
    study = (
        "experiment=rnn_vs_transformer",
        *TEXT[:2],
        "tokenizer.size=290",
        "study.trials=2",
        "study.seeds=[1,2]",
        "study.equal=[data,tokenizer,budget,context]",
    )
    entries = [Entry(f"sweeps/{name}", words, several=True) for name, words in lists.items()]
    return [*entries, Entry("sweeps/study", study, command="study", several=True)]


ENTRIES = [*_models(), *_parts(), *_training(), *_data(), *_afterwards(), *_sweeps()]
