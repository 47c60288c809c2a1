import os
import sys

# Python puts the working folder first in sys.path, where a user's file could hide an installed module. The two modules
# above are loaded before that.
sys.path[:] = [place for place in sys.path if place not in ("", os.getcwd())]  # noqa: PTH109

from lmlab.cli import main  # noqa: E402

if __name__ == "__main__":
    main()
