"""Compare the time until the first batch with data.stream=true and without.

    python scripts/benchmark/streaming.py FILE [--megabytes 300] [--types 4096]

Both arms prepare the same text in an empty cache, one after the other. The tokenizer is fitted before.
"""

import argparse
import tempfile
import time
from pathlib import Path

from rich.console import Console

from lmlab.data.corpora import Text
from lmlab.data.dataset import Opening
from lmlab.data.tokenizers import BPE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="a UTF-8 text, repeated to the size")
    parser.add_argument("--megabytes", type=int, default=300)
    parser.add_argument("--types", type=int, default=4096)
    options = parser.parse_args()
    original = options.file.read_text(encoding="utf-8")
    repetitions = max(1, options.megabytes * 10**6 // len(original.encode()))
    tokenizer = BPE(options.types)
    tokenizer.fit([original])
    seconds = {}
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "text.txt"
        with copy.open("w", encoding="utf-8") as file:
            for _ in range(repetitions):
                file.write(original)
        for stream in (False, True):
            cache = Path(folder) / f"cache-{stream}"
            began = time.perf_counter()
            task = Text(str(copy), stream=stream).open(Opening(tokenizer, 1, 32, 256, False, None, cache))
            task.training_batch(0, 0, 1, 0, 1)
            seconds[stream] = time.perf_counter() - began
            task.close()
        size = copy.stat().st_size / 1e6
    console = Console()
    console.print(
        f"{size:.0f} MB: first batch after {seconds[True]:.1f} s with data.stream=true, {seconds[False]:.1f} s without"
        f" (ratio {seconds[False] / seconds[True]:.1f})"
    )


if __name__ == "__main__":
    main()
