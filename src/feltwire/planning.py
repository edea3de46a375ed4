"""From the settings to what an engine shall do."""

from feltwire.config import Settings
from feltwire.errors import ConfigError
from feltwire.plan import Plan, SourcePlan
from feltwire.tracks import Track


def to_plan(settings: Settings, *, ingest: bool = True, process: bool = True, until_idle: bool = False) -> Plan:
    """What an engine shall do: ingest without a lake, process without sources, or both.

    Raises ConfigError for a track that cannot be read, and where two sources or two tracks have one name.
    """
    tracks = []
    for number, track in enumerate(settings.tracks):
        try:
            tracks.append(Track(track.name, track.query))
        except ConfigError as error:
            raise ConfigError(f"tracks.{number}: {error}") from error
    sources = [
        SourcePlan(key=source.name or source.uri.partition("?")[0], uri=source.uri, options=source.options)
        for source in settings.sources
    ]
    _refuse_twins("sources", [source.key for source in sources])
    _refuse_twins("tracks", [track.name for track in tracks])
    _refuse_twins("followers", [follower.name for follower in settings.followers])
    engine = settings.engine
    return Plan(
        pipeline=settings.pipeline.name,
        log=settings.log_uri,
        log_options=settings.log.options,
        sources=tuple(sources) if ingest else (),
        lake=settings.lake.path if process else None,
        storage_options=settings.lake.storage_options,
        tracks=tuple(tracks),
        model=settings.model.uri,
        partitions=None if engine.partitions is None else tuple(engine.partitions),
        processes=engine.processes,
        until_idle=until_idle,
        max_backlog=engine.max_backlog,
        maintain=engine.maintain,
        master=engine.master,
        trigger_s=engine.trigger_s,
        batch_rows=engine.batch_rows,
        spark=engine.spark,
    )


def _refuse_twins(section: str, names: list[str]) -> None:
    twins = sorted({name for name in names if names.count(name) > 1})
    if twins:
        raise ConfigError(f"{section}: the name {twins[0]!r} came twice; each needs a name of its own")
