"""Compare the preparation of a text with what the tokenizer libraries do with the same text and merges.

    python scripts/benchmark/preparation.py FILE [--megabytes 50] [--rounds 5] [--types 4096]

All arms use all cores, in turn. The libraries get the text in memory, in pieces, and only encode it; the preparation
reads, checks and cuts the file, encodes, counts, and writes ids to disk, with tiktoken if it is installed and as if it
were not. The tokenizer is fitted before.
"""

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import patch

from rich.console import Console
from rich.table import Table

from lmlab.data.corpora import WholeText
from lmlab.data.preparation import prepare
from lmlab.data.tokenizers import BPE, bpe
from lmlab.data.tokenizers.threads import available_cores

GOAL = 0.7


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="a UTF-8 text, repeated to the size")
    parser.add_argument("--megabytes", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--types", type=int, default=4096)
    options = parser.parse_args()
    original = options.file.read_text(encoding="utf-8")
    text = original * max(1, options.megabytes * 10**6 // len(original.encode()))
    tokenizer = BPE(options.types)
    tokenizer.fit([original])
    assert tokenizer._model is not None
    model, pieces = tokenizer._model, list(tokenizer.pieces([text]))
    fast = bpe.as_tiktoken(model, options.types - 257)
    with tempfile.TemporaryDirectory() as folder:
        copy, cache = Path(folder) / "text.txt", Path(folder) / "cache"
        copy.write_text(text, encoding="utf-8")

        def prepared() -> None:
            shutil.rmtree(cache, ignore_errors=True)
            prepare(WholeText(str(copy)), tokenizer, cache, progress=False)

        def prepared_without_tiktoken() -> None:
            with patch.dict(sys.modules, {"tiktoken": None}):
                prepared()

        def with_tiktoken() -> None:
            assert fast is not None
            with ThreadPoolExecutor(available_cores()) as pool:
                list(pool.map(fast.encode_to_numpy, pieces))

        arms: dict[str, Callable[[], object]] = {
            "preparation without tiktoken": prepared_without_tiktoken,
            "tokenizers": lambda: model.encode_batch_fast(pieces),
        }
        if fast is not None:
            arms |= {"preparation": prepared, "tiktoken": with_tiktoken}
        rates = in_turn(arms, len(text.encode()) / 1e6, options.rounds)
    table = Table(title=f"{len(text.encode()) / 1e6:.0f} MB, {available_cores()} cores", title_justify="left")
    for heading in ("arm", "median MB/s", "least", "most", "arm / tokenizers"):
        table.add_column(heading, justify="left" if heading == "arm" else "right")
    for name, values in rates.items():
        ratios = [own / other for own, other in zip(values, rates["tokenizers"], strict=True)]
        row = (statistics.median(values), min(values), max(values))
        table.add_row(name, *(f"{value:.2f}" for value in row), f"{statistics.median(ratios):.2f}")
    console = Console()
    console.print(table)
    console.print(f"The goal of a preparation is at least {GOAL} of tokenizers.")


def in_turn(arms: dict[str, Callable[[], object]], megabytes: float, rounds: int) -> dict[str, list[float]]:
    """Run every arm, in turn, ``rounds`` times after one that is not counted; return megabytes per second."""
    rates: dict[str, list[float]] = {name: [] for name in arms}
    for turn in range(rounds + 1):
        for name, arm in arms.items():
            begun = time.perf_counter()
            arm()
            if turn:
                rates[name].append(megabytes / (time.perf_counter() - begun))
    return rates


if __name__ == "__main__":
    main()
