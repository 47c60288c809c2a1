"""The main job: an LSTM and a Transformer of equal size, under an equal token budget, on the built-in corpus."""

import subprocess
import sys


def main() -> None:
    command = ["train", "-m", "experiment=rnn_vs_transformer", "model=lstm,transformer", *sys.argv[1:]]
    print(f"$ lmlab {' '.join(command)}\n", flush=True)
    code = subprocess.call([sys.executable, "-m", "lmlab", *command])
    if code == 0:
        print("\nOne seed and one learning rate are not conclusive. Next: lmlab study experiment=rnn_vs_transformer")
        print("It tunes both alike, trains five seeds of each and writes a report: 26 runs as long as one of these.")
    sys.exit(code)


if __name__ == "__main__":
    main()
