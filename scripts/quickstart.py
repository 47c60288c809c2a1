"""The main job: an LSTM and a Transformer of equal size, under an equal token budget, on the built-in corpus."""

import subprocess
import sys


def main() -> None:
    command = ["train", "-m", "experiment=rnn_vs_transformer", "model=lstm,transformer", *sys.argv[1:]]
    print(f"$ lmlab {' '.join(command)}\n", flush=True)
    sys.exit(subprocess.call([sys.executable, "-m", "lmlab", *command]))


if __name__ == "__main__":
    main()
