"""Id of a code location's repository: several locations have schedules of the same name.

So have a former location and the one that replaced it, whose states Dagster keeps.
"""

import dagster as dg

from ar_sync_pipeline.operations.dagster_internals import REPOSITORY_LABEL_TAG


def repository_of_tick(context: dg.SensorEvaluationContext) -> str | None:
    """Return the id of the repository of a sensor; None outside of a code location."""
    origin, name = context.code_location_origin, context.repository_name
    if origin is None or name is None:
        return None
    return _id(name, origin.location_name)


def repository_of_run(run: dg.DagsterRun) -> str | None:
    """Return the id of the repository of a run; None if it was started without a code location."""
    name, at, location = run.tags.get(REPOSITORY_LABEL_TAG, "").partition("@")
    return _id(name, location) if at else None


def _id(name: str, location: str) -> str:
    selector = dg.RepositorySelector(location_name=location, repository_name=name)
    return str(selector.selector_id)
