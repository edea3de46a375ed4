"""The two classic reports as files."""

from enum import StrEnum
from typing import Annotated

import typer

from feltwire.cli import common, output
from feltwire.cli.common import AsJson, AsOf, ConfigFile, LakePath, OneTrack, Since, Until
from feltwire.cli.when import parse_when
from feltwire.errors import MissingExtraError


class By(StrEnum):
    """What makes the reports."""

    local = "local"
    spark = "spark"


def report(
    *,
    window: Annotated[str, typer.Option("--window", metavar="SPAN", help="How long a window is: 15min, 1h.")] = "15min",
    tweets: Annotated[
        str, typer.Option(metavar="DIR", help="Where the posts are written: a folder or s3://.")
    ] = "report/tweet",
    sentiment: Annotated[
        str, typer.Option(metavar="DIR", help="Where the windows are written: a folder or s3://.")
    ] = "report/sentiment",
    track: OneTrack = None,
    since: Since = None,
    until: Until = None,
    as_of: AsOf = None,
    engine: Annotated[By, typer.Option("--engine", help="By this process, or by Spark.")] = By.local,
    master: Annotated[
        str | None, typer.Option(metavar="URL", help="Of Spark: the cluster, such as local[4] or yarn.")
    ] = None,
    lake: LakePath = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Write every post with its scores, and the mood by windows, as CSV and Parquet.

    \b
      feltwire report
      feltwire report --window 1h --since 7d --track airlines --tweets out/tweet --sentiment out/sentiment
      feltwire report --engine spark --master spark://host:7077 --tweets s3://bucket/tweet

    Numbers have four decimals; what is shared out sums to 1.
    """
    from feltwire import windows
    from feltwire.report import local
    from feltwire.report.files import Folder

    opened = common.open_the_lake(config, lake)
    options = opened.location.options
    asked = local.Asked(
        minutes=windows.parse_every(window),
        since=parse_when(since, "--since"),
        until=parse_when(until, "--until"),
        track=track,
        as_of=parse_when(as_of, "--as-of"),
    )
    places = Folder(tweets, options), Folder(sentiment, options)
    if engine is By.spark:
        try:
            from feltwire.report import spark
        except ModuleNotFoundError as error:
            raise MissingExtraError(
                "--engine spark needs the library 'pyspark': pip install 'feltwire[spark]', and Java 17"
            ) from error
        written = spark.write(opened, asked, *places, master=master)
    else:
        written = local.write(opened, asked, *places)
    if as_json:
        output.write_json({"tweets": written.tweets, "windows": written.windows})
    else:
        common.talk(f"{written.tweets:,} posts in {tweets}, {written.windows:,} windows in {sentiment}.")


add_to = common.adder({"report": report}, "Ask")
