"""The one list of what stands in front of MiniStack, and what each part is given.

Rules: a part that reaches into MiniStack installs itself here, before the first request.
"""

from collections.abc import Sequence

from simulator.cloud.commands.operations import CommandOperations
from simulator.cloud.config import ACCOUNT_ID, CloudConfig
from simulator.cloud.emulator import Emulator
from simulator.cloud.groups.dynamic import DynamicGroups
from simulator.cloud.groups.operations import ThingGroups
from simulator.cloud.groups.registry import GroupRegistry
from simulator.cloud.indexing import feed as index_feed
from simulator.cloud.indexing.index import Index
from simulator.cloud.indexing.operations import FleetIndexing
from simulator.cloud.jobs import executions
from simulator.cloud.jobs import targets as group_jobs
from simulator.cloud.jobs.operations import PackageJobs
from simulator.cloud.jobs.targets import GroupJobs
from simulator.cloud.objects import Objects
from simulator.cloud.packages import shadow as package_shadow
from simulator.cloud.packages.catalog import Catalog
from simulator.cloud.packages.operations import Packages
from simulator.cloud.packages.sbom_operations import Sboms
from simulator.cloud.packages.shadow import PackageReporter
from simulator.cloud.registration.operations import Registration
from simulator.cloud.service import Feature
from simulator.cloud.small_operations import SmallOperations
from simulator.cloud.tags import Tags


def features(emulator: Emulator, config: CloudConfig) -> Sequence[Feature]:
    """Everything, wired up."""
    catalog = Catalog(config.region, ACCOUNT_ID)
    tags = Tags(emulator.iot)
    package_shadow.install(emulator.iot)
    package_jobs = PackageJobs(catalog, emulator.iot)
    emulator.on_succeeded(PackageReporter(catalog, emulator, package_jobs.installs))
    executions.install(emulator.iot)
    group_jobs.install(emulator.iot)
    registry = GroupRegistry(emulator.iot)
    registry.install()
    things = index_feed.Things(emulator.iot, ACCOUNT_ID, config.region)
    index = Index(things)
    index_feed.install(emulator.iot, ACCOUNT_ID, config.region, index.touch)
    arn_prefix = f"arn:aws:iot:{config.region}:{ACCOUNT_ID}"
    return [
        Packages(catalog, tags),
        Sboms(catalog, Objects()),
        package_jobs,
        ThingGroups(registry, arn_prefix),
        DynamicGroups(registry, index, emulator.scoped, arn_prefix),
        GroupJobs(emulator.iot, arn_prefix),
        FleetIndexing(index, things, arn_prefix, lambda: [group["queryString"] for group in registry.dynamic()]),
        CommandOperations(emulator, config, tags),
        Registration(emulator, config),
        SmallOperations(emulator, arn_prefix),
    ]
