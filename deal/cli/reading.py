"""Options of files that hold images and of object storage, and what robot logs hold."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any, TypeVar

import click

from deal.cli.common import print_note
from deal.cli.grouped import option
from deal.errors import UsageError
from deal.text import printable

__all__ = ["endpoint_option", "print_topics", "reading_options"]

FC = TypeVar("FC", bound=Callable[..., Any])


def reading_options(heading: str, *, listing: bool = True) -> Callable[[FC], FC]:
    """Add the options of `deal.pool.inside.Reading`, and what goes with them, under a heading.

    ``listing`` False leaves out those that list a pool.
    """
    options = [
        option(
            heading,
            "--image-column",
            metavar="NAME",
            help="Column of Parquet files that holds the images. Default: the one that has any.",
        ),
        option(
            heading,
            "--every",
            default="1s",
            show_default=True,
            metavar="1s|10f|keyframe",
            help="Which frames of videos to score: one per second, every tenth, or the keyframes.",
        ),
        option(
            heading,
            "--topic",
            multiple=True,
            metavar="TOPIC",
            help="Topic of MCAP files to score; repeatable. Default: all topics of images.",
        ),
        option(
            heading,
            "--endpoint-url",
            metavar="URL",
            help="Where a store of your own speaks S3, such as http://minio:9000. Default: the "
            "environment variable AWS_ENDPOINT_URL.",
        ),
    ]
    if listing:
        topics = option(
            heading,
            "--list-topics",
            is_flag=True,
            help="List the topics of MCAP files instead of scoring them.",
        )
        manifest = option(
            heading,
            "--save-manifest",
            type=click.Path(),
            metavar="FILE.jsonl",
            help="Write the pool as a manifest too, so that later runs need not list it.",
        )
        options = [*options[:3], topics, *options[3:], manifest]

    def decorate(function: FC) -> FC:
        for one in reversed(options):
            function = one(function)
        return function

    return decorate


def endpoint_option(heading: str) -> Callable[[FC], FC]:
    """Add ``--endpoint-url`` to a command that reads stored results or images."""

    def use(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
        if value:
            os.environ["AWS_ENDPOINT_URL"] = value  # as users say it to all tools of S3

    return option(
        heading,
        "--endpoint-url",
        metavar="URL",
        expose_value=False,
        callback=use,
        help="Where the store of OUT and of its images speaks S3, such as http://minio:9000. "
        "Default: the environment variable AWS_ENDPOINT_URL.",
    )


def print_topics(pool: tuple[str, ...], *, as_json: bool) -> None:
    """Print the topics of MCAP files, and which are read."""
    from deal.pool.mcap_messages import list_topics

    if not pool or not all(name.lower().endswith(".mcap") for name in pool):
        raise UsageError("--list-topics lists those of MCAP files: name them, such as trip.mcap")
    found = {name: list_topics(name, note=print_note) for name in pool}
    if as_json:
        document = {name: [topic._asdict() for topic in topics] for name, topics in found.items()}
        click.echo(json.dumps(document, indent=1))
        return
    for name, topics in found.items():
        click.echo(printable(name))
        width = max((len(topic.name) for topic in topics), default=0)
        for topic in topics:
            messages = "" if topic.messages is None else f"{topic.messages}"
            read = "read" if topic.problem is None else f"not read: {topic.problem}"
            line = f"  {topic.name:{width}}  {messages:>8}  {topic.schema or '-'}  ({read})"
            click.echo(printable(line))
