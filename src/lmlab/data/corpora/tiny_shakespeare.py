"""Tiny Shakespeare: 1,115,394 characters of Shakespeare's plays."""

from lmlab.data.corpora.corpus import Published
from lmlab.data.corpora.declared import DeclaredCorpus, Part
from lmlab.data.corpora.remote_file import RemoteFile

_INPUT = RemoteFile(
    "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
    "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
    "tinyshakespeare/input.txt",
)
_CUT = 1_115_394 * 9 // 10


class TinyShakespeare(DeclaredCorpus):
    """Karpathy's 40,000 lines of Shakespeare, split as usual: the first 90 % train, the rest validation.

    There is no test split: one taken from either part would make results incomparable with published ones.
    """

    name = "tinyshakespeare"
    licence = "public domain"
    splits = ("train", "validation")
    files = (_INPUT,)
    parts = {"train": Part(_INPUT, end=_CUT), "validation": Part(_INPUT, first=_CUT)}
    published = (Published({"train": 1_003_854, "validation": 111_540}, tokenizer="Character", types=65),)
