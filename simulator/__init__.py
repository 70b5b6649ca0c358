"""fleetsim: a simulated device fleet that knows what it broke, for testing IoT backends.

The rooms, and who may import whom, are listed in README.md ("Design") and enforced by import-linter.
"""

__version__ = "0.1.0"
