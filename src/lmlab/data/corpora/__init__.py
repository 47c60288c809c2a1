"""Corpora: named texts in splits, from local files, declared addresses, the hub or the standard library."""

from lmlab.data.corpora.corpus import SPLITS, Corpus, Published
from lmlab.data.corpora.declared import DeclaredCorpus, Part
from lmlab.data.corpora.hugging_face import HuggingFace
from lmlab.data.corpora.hutter import Enwik8, Text8
from lmlab.data.corpora.lambada import Lambada
from lmlab.data.corpora.penn_treebank import PennTreebank
from lmlab.data.corpora.remote_file import RemoteFile
from lmlab.data.corpora.standard_library import StandardLibrary
from lmlab.data.corpora.text import Text, WholeText
from lmlab.data.corpora.tiny_shakespeare import TinyShakespeare
from lmlab.data.corpora.wikitext2 import WikiText2
from lmlab.data.corpora.wikitext103 import WikiText103

__all__ = [
    "SPLITS",
    "Corpus",
    "DeclaredCorpus",
    "Enwik8",
    "HuggingFace",
    "Lambada",
    "Part",
    "PennTreebank",
    "Published",
    "RemoteFile",
    "StandardLibrary",
    "Text",
    "Text8",
    "TinyShakespeare",
    "WholeText",
    "WikiText2",
    "WikiText103",
]
