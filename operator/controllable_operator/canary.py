"""One look at a rollout: what is seen, what the canary's pods count, and what is to be recorded next."""

from dataclasses import replace
from datetime import datetime

from controllable_operator.api import RolloutStatus
from controllable_operator.rollout import CANARY_STATES, next_step
from controllable_operator.tracks import Standing
from controllable_operator.traffic import Traffic, TrafficReader, Unreadable


def advance(standing: Standing, reader: TrafficReader, now: datetime) -> RolloutStatus:
    """What to record of the model's rollout. Asks the canary's pods while they are watched."""
    metadata, rollout = standing.model.metadata, standing.model.spec.rollout
    recorded, model = standing.model.status.rollout, (metadata.namespace, metadata.name)
    seen = standing.seen()
    if recorded and recorded.state == "Watching" and recorded.revision == seen.newest:
        seen = replace(seen, traffic=_traffic(standing, reader, recorded))
    status = next_step(rollout, recorded, seen, standing.share, now)
    if status.state not in CANARY_STATES:
        reader.forget(model)
    elif status.state == "Watching" and status.step > 1 and recorded and recorded.state == "Starting":
        # The first step began when the canary's pods did, with nothing counted.
        reader.begin(model, (status.revision, status.step), standing.canary_pods())
    return status


def _traffic(standing: Standing, reader: TrafficReader, recorded: RolloutStatus) -> Traffic | str:
    metadata = standing.model.metadata
    step = (recorded.revision, recorded.step)
    try:
        return reader.since_begin((metadata.namespace, metadata.name), step, standing.canary_pods())
    except Unreadable as error:
        return str(error)
