"""The one list of what stands in front of MiniStack, and what each part is given.

Rules: a part that reaches into MiniStack installs itself here, before the first request.
"""

from collections.abc import Sequence

from simulator.cloud.catalog import Catalog
from simulator.cloud.config import ACCOUNT_ID, CloudConfig
from simulator.cloud.emulator import Emulator
from simulator.cloud.jobs import PackageJobs, PackageReporter
from simulator.cloud.packages import Packages
from simulator.cloud.service import Feature


def features(emulator: Emulator, config: CloudConfig) -> Sequence[Feature]:
    """Everything, wired up."""
    catalog = Catalog(config.region, ACCOUNT_ID)
    emulator.on_succeeded(PackageReporter(catalog, emulator))
    return [
        Packages(catalog),
        PackageJobs(catalog),
    ]
