"""LAMBADA: 2,662 novels, and passages whose last word follows only from the whole passage."""

import tarfile
from collections.abc import Iterator

from lmlab.data.corpora.corpus import Published
from lmlab.data.corpora.declared import DeclaredCorpus
from lmlab.data.corpora.remote_file import RemoteFile

# The checksum is that of tensorflow_datasets/text/lambada/checksums.tsv in tensorflow/datasets.
_ARCHIVE = RemoteFile(
    "https://zenodo.org/record/2630551/files/lambada-dataset.tar.gz",
    "8fbe499096ddbdcbbd0cac406861b5026fb451d15b8fe04e0e4f3d082f2ad5d7",
    "lambada/lambada-dataset.tar.gz",
)
_MEMBERS = {
    "train": "train-novels.tar",
    "validation": "lambada_development_plain_text.txt",
    "test": "lambada_test_plain_text.txt",
}


class Lambada(DeclaredCorpus):
    """LAMBADA (Paperno et al. 2016, "The LAMBADA dataset: word prediction requiring a broad discourse context").

    A document of the training split is a novel, one of the other splits a passage. The text is in lower case and split
    into words.
    """

    name = "lambada_text"
    licence = "CC BY 4.0"
    files = (_ARCHIVE,)
    published = (Published({"train": 2662, "validation": 4869, "test": 5153}, "documents"),)

    def chunks(self, split: str) -> Iterator[Iterator[str]]:
        with tarfile.open(self._paths[self.files[0]], "r|gz") as archive:
            member = next(entry for entry in archive if entry.name.rpartition("/")[2] == _MEMBERS[split])
            content = archive.extractfile(member)
            assert content is not None
            if split == "train":
                with tarfile.open(fileobj=content, mode="r|") as novels:
                    for entry in novels:
                        if (novel := novels.extractfile(entry)) is not None and entry.name.endswith(".txt"):
                            yield iter((novel.read().decode().strip(),))
            else:
                for line in content:
                    yield iter((line.decode().rstrip("\n"),))
