"""Tiny Shakespeare: 1,115,394 characters of Shakespeare's plays."""

from pathlib import Path

from lmlab.data.corpora.declared import DeclaredCorpus, RemoteFile


class TinyShakespeare(DeclaredCorpus):
    """Karpathy's 40,000 lines of Shakespeare, split as usual: the first 90 % train, the rest validation.

    There is no test split: one taken from either part would make results incomparable with published ones.
    """

    name = "tinyshakespeare"
    licence = "public domain"
    splits = ("train", "validation")
    files = (
        RemoteFile(
            "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
            "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
            "tinyshakespeare/input.txt",
        ),
    )

    def text(self, split: str, paths: list[Path]) -> str:
        text = paths[0].read_bytes().decode()
        cut = len(text) * 9 // 10
        return text[:cut] if split == "train" else text[cut:]
