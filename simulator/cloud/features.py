"""The one list of what stands in front of MiniStack, and what each part is given.

Rules: a part that reaches into MiniStack installs itself here, before the first request.
"""

from collections.abc import Sequence

from simulator.cloud import executions, group_jobs, index_feed, package_shadow
from simulator.cloud.catalog import Catalog
from simulator.cloud.command_operations import CommandOperations
from simulator.cloud.config import ACCOUNT_ID, CloudConfig
from simulator.cloud.dynamic_groups import DynamicGroups
from simulator.cloud.emulator import Emulator
from simulator.cloud.fleet_indexing import FleetIndexing
from simulator.cloud.group_jobs import GroupJobs
from simulator.cloud.group_registry import GroupRegistry
from simulator.cloud.index import Index
from simulator.cloud.jobs import PackageJobs
from simulator.cloud.objects import Objects
from simulator.cloud.package_shadow import PackageReporter
from simulator.cloud.packages import Packages
from simulator.cloud.registration import Registration
from simulator.cloud.sboms import Sboms
from simulator.cloud.service import Feature
from simulator.cloud.small_operations import SmallOperations
from simulator.cloud.tags import Tags
from simulator.cloud.thing_groups import ThingGroups


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
