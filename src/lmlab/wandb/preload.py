"""Import W&B's library in a process from which runs are forked, without sharing what it creates on import.

On import the library creates two temporary folders. A run makes its own at their places in the library, in its own
temporary folder, which is removed with the run.
"""

import tempfile
from pathlib import Path

from wandb.sdk.artifacts.artifact import Artifact
from wandb.sdk.data_types._private import MEDIA_TMP

_FOLDERS = (MEDIA_TMP, Artifact._TMP_DIR)

for _folder in _FOLDERS:
    _folder.cleanup()


def make_temporary_folders() -> None:
    """Make the library's temporary folders, if this process was forked after they were removed."""
    for folder in _FOLDERS:
        if not Path(folder.name).is_dir():
            folder.name = tempfile.mkdtemp(suffix="wandb")
