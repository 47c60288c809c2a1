"""``torchrun``, PyTorch's elastic launcher, less its report of failed processes: the run itself says what failed."""

import sys

from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import main

if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except ChildFailedError:
        sys.exit(1)
