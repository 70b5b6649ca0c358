"""`python -m simulator` is the command `fleetsim`."""

from simulator.cli import main

main()
