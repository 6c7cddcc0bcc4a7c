"""Report the settings, the progress and the run time of an experiment of ``deal loop``."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from deal.loop.table import Experiment, Run
from deal.report.markdown import code
from deal.report.markdown import name as shown

__all__ = ["settings"]


def settings(experiment: Experiment) -> list[str]:
    """A list: data, training, rounds, finished runs, time."""
    shared = experiment.shared
    data = shared["data"]
    size = data["size"] and f"{data['size'][0]}×{data['size'][1]}"
    rounds = len(experiment.counts)
    finished = {
        name: sum(len(run.rounds) == rounds for run in experiment.runs if run.method == name)
        for name in experiment.methods()
    }
    unfinished = [
        f"{shown(run.method)}-seed{run.seed}" for run in experiment.runs if len(run.rounds) < rounds
    ]
    lines = [
        f"- Data: {shown(data['dataset'])}, {shared['images']} training images"
        f"{f' at {size}' if size else ''}; measured on {shown(data['evaluate'])}.",
        f"- Training: {_training(shared['training'])}.",
        f"- {_rounds(experiment)}",
        f"- Finished runs: {', '.join(f'{shown(key)} {n}' for key, n in finished.items())}.",
    ]
    if unfinished:
        lines.append(f"- Unfinished runs, whose finished rounds count: {', '.join(unfinished)}.")
    if max(finished.values()) < 5:
        lines.append(
            "- Few seeds: with three, an interval reaches 2.5 standard deviations to each side."
        )
    whole = [run for run in experiment.runs if len(run.rounds) == rounds]
    return [*lines, *_time(whole, command="command" in shared["training"]), ""]


def _training(training: Mapping[str, Any]) -> str:
    """Describe the training of every round, by ``[training]`` in ``experiment.json``."""
    if "command" in training:
        parts = training["command"]
        text = " ".join(part if part.split() == [part] else shlex.quote(part) for part in parts)
        return f"by the command {code(text)} in every round"
    length = f"{training['epochs']} epochs" if training["epochs"] else f"{training['steps']} steps"
    start = code(training["weights"]) if training["weights"] else "scratch"
    network = f"{shown(training['network'])} network, width {training['width']:g}, from {start}"
    if pixels := training.get("pixels"):
        return (
            f"{network}; the decoder alone in every round, {length} of {pixels} labeled pixels, lr "
            f"{training['lr']:g}, without augmentation"
        )
    return (
        f"{network} in every round, {length}, batches of {training['batch_size']}, lr "
        f"{training['lr']:g}, {training['precision']}"
    )


def _rounds(experiment: Experiment) -> str:
    """Describe the labels of the rounds, and what the methods share."""
    rounds = experiment.shared["rounds"]
    text = (
        f"Rounds at {', '.join(map(str, experiment.counts))} labeled images; the first is one "
        "random set per seed, with one model for all methods that train alike."
    )
    if regions := rounds.get("regions"):
        images = {
            run.method
            for run in experiment.runs
            if run.settings.get("selection", {}).get("table") == "images"
        }
        text += f" Then regions, {code(regions)}, {_amount(rounds)}"
        if rounds.get("label") == "dominant":
            text += "; each gets one label, the class of most of its pixels"
            sieve = rounds.get("sieve", 0.0)
            text += f", if it has {100 * sieve:g} % of them" if sieve else ""
        text += f"; whole images by {', '.join(map(shown, sorted(images)))}." if images else "."
    if share := rounds["pool_subset"]:
        text += f" Picks from a random {share} of the rest."
    return text


def _amount(rounds: Mapping[str, Any]) -> str:
    """How much of regions is labeled, by ``[rounds]`` in ``experiment.json``."""
    if budget := rounds.get("budget"):
        return f"{budget.partition(':')[2]} clicks for each image that a round adds"
    return "with as many pixels as that number of images"


def _time(runs: Sequence[Run], *, command: bool) -> list[str]:
    """Report how long finished runs trained, if their files say so, and the network's share."""
    timings = [[each.timing for each in run.rounds[1:] if each.timing is not None] for run in runs]
    whole = [of for of, run in zip(timings, runs, strict=True) if len(of) == len(run.rounds) - 1]
    trainings = [training for of in whole for training in of]
    if not trainings:
        return []
    seconds = [math.fsum(training["seconds"] for training in of) for of in whole]
    total = math.fsum(seconds)
    count = "1 run" if len(whole) == 1 else f"{len(whole)} runs"
    devices = sorted({training["device"] for training in trainings if "device" in training})
    text = (
        "- Time: a run trains for "
        f"{_seconds(total / len(whole))} after the first round, which methods share (mean of "
        f"{count}, {_seconds(min(seconds))} to {_seconds(max(seconds))}"
        f"{'; on ' if devices else ''}{' and '.join(devices)})."
    )
    if command:
        text += " How much of that is the network, a command does not say."
    elif total > 0 and all("batch_seconds" in training for training in trainings):
        batches = math.fsum(training["batch_seconds"] for training in trainings)
        text += (
            f" {100 * (1 - batches / total):.0f} % of it is the network, forwards, backwards and "
            "the optimizer; the rest makes batches."
        )
    return [f"{text} Exports, scoring and measuring come on top."]


def _seconds(value: float) -> str:
    return f"{value:.0f} s" if value >= 10 else f"{value:.1f} s"
