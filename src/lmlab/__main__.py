import os
import sys

# Python has put the working folder first, where anything may lie. The two modules above are loaded before it does.
sys.path[:] = [place for place in sys.path if place not in ("", os.getcwd())]  # noqa: PTH109

from lmlab.cli import main  # noqa: E402

if __name__ == "__main__":
    main()
