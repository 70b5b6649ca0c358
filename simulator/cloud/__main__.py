"""`python -m simulator.cloud --config FILE`: one JSON line on stdout when ready, the log on stderr."""

import sys

from simulator.cloud.process import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
