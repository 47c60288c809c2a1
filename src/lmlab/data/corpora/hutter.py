"""enwik8 and text8: 100,000,000 bytes each of the English Wikipedia of 2006, with markup and without."""

from lmlab.data.corpora.corpus import Published
from lmlab.data.corpora.declared import DeclaredCorpus, Part
from lmlab.data.corpora.remote_file import RemoteFile

_FIRST_CUT, _SECOND_CUT, _SIZE = 90_000_000, 95_000_000, 100_000_000
_COUNTS = {"train": _FIRST_CUT, "validation": _SECOND_CUT - _FIRST_CUT, "test": _SIZE - _SECOND_CUT}

# The checksum is that of datasets/enwik8/dataset_infos.json in huggingface/datasets.
_ENWIK8 = RemoteFile(
    "https://mattmahoney.net/dc/enwik8.zip",
    "547994d9980ebed1288380d652999f38a14fe291a6247c157c3d33d4932534bc",
    "enwik8/enwik8.zip",
)
# The checksum is the one that public projects agree on. The MD5 of the file in the archive is stated as
# 3bea1919949baf155f99411df5fada7e.
_TEXT8 = RemoteFile(
    "https://mattmahoney.net/dc/text8.zip",
    "a6640522afe85d1963ad56c05b0ede0a0c000dddc9671758a6cc09b7a38e5232",
    "text8/text8.zip",
)


def _parts(file: RemoteFile, member: str) -> dict[str, Part]:
    """Return the usual splits: 90 million bytes for training, then 5 million each for validation and test."""
    return {
        "train": Part(file, member, end=_FIRST_CUT),
        "validation": Part(file, member, _FIRST_CUT, _SECOND_CUT),
        "test": Part(file, member, _SECOND_CUT),
    }


class Enwik8(DeclaredCorpus):
    """enwik8 (Hutter prize): Wikipedia's XML, split 90/5/5 million bytes.

    A character at a cut belongs to the split in which it begins, so a split may differ by up to three bytes.
    """

    name = "enwik8"
    licence = "GFDL"
    files = (_ENWIK8,)
    parts = _parts(_ENWIK8, "enwik8")
    published = (Published(_COUNTS, "bytes", within=3),)


class Text8(DeclaredCorpus):
    """text8: Wikipedia's text as the letters a to z and single spaces, split 90/5/5 million characters."""

    name = "text8"
    licence = "GFDL"
    files = (_TEXT8,)
    parts = _parts(_TEXT8, "text8")
    published = (Published(_COUNTS, "bytes"), Published(_COUNTS, tokenizer="Character", types=27))
