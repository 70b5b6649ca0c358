"""Everything that is put right in MiniStack's IoT before it serves anyone, in one call.

Rules: each correction is a module of its own with `install`; here is only their order. What stays different from
AWS is listed in `differences`.
"""

from typing import Any

from simulator.cloud import listings, registry_rules
from simulator.cloud.broker import broker, connections, https_publish
from simulator.cloud.config import CloudConfig
from simulator.cloud.jobs import engine as job_engine
from simulator.cloud.shadows import service as shadow_service


def install(iot: Any, config: CloudConfig) -> None:
    """Correct MiniStack's module `services.iot`, and those of the data planes, which call it."""
    from ministack.services import iot_data, iot_jobs_data

    carried = broker.install(iot)
    connections.install(iot, carried)
    https_publish.install(iot, iot_data)
    shadow_service.install(iot, iot_data, carried)
    job_engine.install(iot, iot_jobs_data, carried, config.job_minute_s)
    registry_rules.install(iot, config.thing_type_wait_s)
    listings.install(iot)
