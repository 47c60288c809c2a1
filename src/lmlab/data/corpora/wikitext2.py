"""WikiText-2: about two million words of Wikipedia's good and featured articles."""

from pathlib import Path

from lmlab.data.corpora.corpus import SPLITS
from lmlab.data.corpora.declared import DeclaredCorpus, RemoteFile

_ADDRESS = "https://raw.githubusercontent.com/pytorch/examples/main/word_language_model/data/wikitext-2"


class WikiText2(DeclaredCorpus):
    """WikiText-2 in its word-level form (Merity et al. 2016, "Pointer sentinel mixture models").

    Rare words are already ``<unk>``. With one ``<eos>`` per line the splits hold 2,088,628, 217,646 and 245,569 tokens.
    All 33,278 types occur in the training split.
    """

    name = "wikitext2"
    licence = "CC BY-SA 3.0"
    files = (
        RemoteFile(
            f"{_ADDRESS}/train.txt",
            "9e9fa1ad55b1c2c95b08e37dd8e653f638fac2c6de904b79e813611eefbc985f",
            "wikitext-2/train.txt",
        ),
        RemoteFile(
            f"{_ADDRESS}/valid.txt",
            "f0737ed31fc1329026e95cb8b98e19c2a182c39c240ab909dc31abf2f8af58e8",
            "wikitext-2/valid.txt",
        ),
        RemoteFile(
            f"{_ADDRESS}/test.txt",
            "d790b833ef8cf03a90db7bf1271b7520b83c45ce07ba3c1a9699df81e239eca0",
            "wikitext-2/test.txt",
        ),
    )

    def text(self, split: str, paths: list[Path]) -> str:
        return paths[SPLITS.index(split)].read_bytes().decode()
