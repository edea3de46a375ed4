"""`/api/v1/tracks`."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Response

from feltwire.lake import added_tracks
from feltwire.lake.added_tracks import KnownTrackError
from feltwire.tracks import Track
from feltwire.web.api._documents import NewTrack, TrackDocument, Tracks
from feltwire.web.api._params import problems
from feltwire.web.context import Here
from feltwire.web.problems import Problem

router = APIRouter(tags=["tracks"])


@router.get("/tracks", response_model=Tracks, responses=problems(409), operation_id="tracks")
def tracks(here: Here) -> dict[str, Any]:
    """What is listened for: the tracks of the settings, and those that were added."""
    configured = here.state.tracks
    names = {one.name for one in configured}
    added = added_tracks.read(here.lake().location)
    return {
        "tracks": [
            *(_shown(one, True) for one in configured),
            *(_shown(one, False) for one in added if one.name not in names),
        ]
    }


@router.post(
    "/tracks", response_model=TrackDocument, status_code=201, responses=problems(409), operation_id="add_track"
)
def add_track(here: Here, given: NewTrack) -> dict[str, Any]:
    """Listen for something more, from the next batch on and after every restart."""
    track = Track(given.name, given.query)
    try:
        added_tracks.add(here.lake().location, track, here.state.tracks)
    except KnownTrackError as error:
        raise Problem(409, str(error)) from error
    return _shown(track, False)


@router.delete(
    "/tracks/{name:path}",
    status_code=204,
    response_class=Response,
    responses=problems(404, 409),
    operation_id="remove_track",
)
def remove_track(here: Here, name: Annotated[str, Path(max_length=500)]) -> None:
    """Listen for it no longer; its posts and windows stay. A track of the settings is removed there."""
    if name in {one.name for one in here.state.tracks}:
        raise Problem(409, "this track stands in the settings: remove it there")
    try:
        added_tracks.remove(here.lake().location, name)
    except KnownTrackError as error:
        raise Problem(404, str(error)) from error


def _shown(track: Track, configured: bool) -> dict[str, Any]:
    return {"name": track.name, "query": track.query, "configured": configured}
