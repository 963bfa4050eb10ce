"""A model card: what a model is for, what it was made of, how good it is and what it does not know, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping

from models.saved import Manifest

LIMITS = {
    "pods": (
        "It recognises a fault that has begun; nothing in such recordings announces one, so that what comes before it "
        "is not foreseen. It was made from one day of one system, with one fault at a time: with several at once the "
        "lead, which compares a pod with the worst of the others, says less. Faults that answer fast and wrong are "
        "not its subject: spans carry no status."
    ),
    "pair": (
        "It knows the failures that were recorded: kinds that never happened there, and loads never seen, it does not. "
        "Of endpoints with few requests it foresees nothing, and what was kept from traffic counts little, for nobody "
        "knows what it would have become."
    ),
}
COUNTED = (
    "It was made from counters read at intervals: attempts stand evenly between two readings and latencies in the "
    "middle of their buckets, so that what happens faster than an interval (a burst, a stall) it has never seen."
)
GENERAL = (
    "It was made from what one gateway, or one simulator, saw. Where the population of its features moves, its trust "
    "is withdrawn and the rule decides."
)


def card(
    manifest: Manifest,
    lines: list[str],
    weights: Mapping[str, float] | None = None,
    what: str = "log-odds for one unit",
    limit: str = "",
) -> bytes:
    """The card. `lines` are the scores for people, `weights` what each feature adds to the log-odds, in the sense of
    `what`; `limit` is one more thing that it does not know.
    """
    text = [
        f"# Model of {manifest.kind}",
        "",
        f"- features: schema `{manifest.schema}`",
        f"- trained by: `{manifest.command or 'unknown'}`, seed {manifest.seed}, Adaptive {manifest.adaptive}",
        f"- training data: SHA-256 `{manifest.data or 'unknown'}`",
        f"- parents: {', '.join(manifest.parents) or 'none'}",
        "",
        "## Scores",
        "",
        "```",
        *lines,
        "```",
        "",
    ]
    if weights:
        text += ["## What it learned", "", f"| feature | {what} |", "|---|---|"]
        text += [f"| {name} | {value:+.3f} |" for name, value in weights.items()]
        text += [""]
    text += ["## What it does not know", "", LIMITS.get(manifest.kind, GENERAL), ""]
    if limit:
        text += [limit, ""]
    return "\n".join(text).encode()
