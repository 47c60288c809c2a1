"""WikiText-2: about two million words of Wikipedia's good and featured articles."""

from lmlab.data.corpora.corpus import Published
from lmlab.data.corpora.declared import DeclaredCorpus, Part
from lmlab.data.corpora.remote_file import RemoteFile

_ADDRESS = "https://raw.githubusercontent.com/pytorch/examples/main/word_language_model/data/wikitext-2"
_FILES = {
    "train": RemoteFile(
        f"{_ADDRESS}/train.txt",
        "9e9fa1ad55b1c2c95b08e37dd8e653f638fac2c6de904b79e813611eefbc985f",
        "wikitext-2/train.txt",
    ),
    "validation": RemoteFile(
        f"{_ADDRESS}/valid.txt",
        "f0737ed31fc1329026e95cb8b98e19c2a182c39c240ab909dc31abf2f8af58e8",
        "wikitext-2/valid.txt",
    ),
    "test": RemoteFile(
        f"{_ADDRESS}/test.txt",
        "d790b833ef8cf03a90db7bf1271b7520b83c45ce07ba3c1a9699df81e239eca0",
        "wikitext-2/test.txt",
    ),
}


class WikiText2(DeclaredCorpus):
    """WikiText-2 in its word-level form (Merity et al. 2016, "Pointer sentinel mixture models").

    Rare words are already ``<unk>``. The published counts have one ``<eos>`` per line. All 33,278 types occur in the
    training split.
    """

    name = "wikitext2"
    licence = "CC BY-SA 3.0"
    files = tuple(_FILES.values())
    parts = {split: Part(file) for split, file in _FILES.items()}
    published = (
        Published({"train": 2_088_628, "validation": 217_646, "test": 245_569}, tokenizer="Word", types=33_278),
    )
