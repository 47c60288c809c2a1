"""WikiText-103: about a hundred million words of Wikipedia's good and featured articles."""

from lmlab.data.corpora.corpus import Published
from lmlab.data.corpora.declared import DeclaredCorpus, Part
from lmlab.data.corpora.remote_file import RemoteFile

# The checksum is that of datasets/wikitext/dataset_infos.json in huggingface/datasets.
_ARCHIVE = RemoteFile(
    "https://wikitext.smerity.com/wikitext-103-v1.zip",
    "242ba0f20b329cfdf1ccc61e9e9e5b59becf189db7f7a81cd2a0e2fc31539590",
    "wikitext-103/wikitext-103-v1.zip",
    mirrors=("https://s3.amazonaws.com/research.metamind.io/wikitext/wikitext-103-v1.zip",),
)


class WikiText103(DeclaredCorpus):
    """WikiText-103 in its word-level form (Merity et al. 2016, "Pointer sentinel mixture models").

    Rare words are already ``<unk>``. The published counts have one ``<eos>`` per line. The validation and test splits
    are those of WikiText-2.
    """

    name = "wikitext103"
    licence = "CC BY-SA 3.0"
    files = (_ARCHIVE,)
    parts = {
        "train": Part(_ARCHIVE, "wikitext-103/wiki.train.tokens"),
        "validation": Part(_ARCHIVE, "wikitext-103/wiki.valid.tokens"),
        "test": Part(_ARCHIVE, "wikitext-103/wiki.test.tokens"),
    }
    published = (
        Published({"train": 103_227_021, "validation": 217_646, "test": 245_569}, tokenizer="Word", types=267_735),
    )
