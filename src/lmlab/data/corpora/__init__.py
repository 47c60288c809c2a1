"""Corpora: named texts in splits, from local files, declared addresses or the standard library."""

from lmlab.data.corpora.corpus import SPLITS, Corpus
from lmlab.data.corpora.declared import DeclaredCorpus, RemoteFile
from lmlab.data.corpora.standard_library import StandardLibrary
from lmlab.data.corpora.text import Text, WholeText
from lmlab.data.corpora.tiny_shakespeare import TinyShakespeare
from lmlab.data.corpora.wikitext2 import WikiText2

__all__ = [
    "SPLITS",
    "Corpus",
    "DeclaredCorpus",
    "RemoteFile",
    "StandardLibrary",
    "Text",
    "TinyShakespeare",
    "WholeText",
    "WikiText2",
]
