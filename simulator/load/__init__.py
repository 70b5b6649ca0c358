"""Load by Locust: its users are devices in an engine child, which shows up in Locust's own statistics and UI.

Rules: this package is the only importer of locust and gevent. Importing locust patches sockets, threads and
subprocesses for the whole process, so it comes before everything else, here; the engine, which must never meet these
patches, lives in a child process (`simulator.runtime.child`) and is spoken to over a pipe.
"""

import locust as locust
