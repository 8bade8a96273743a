"""What the figures of bench_image.py amount to: ratios, targets, and whether the machine was quiet enough."""

import argparse
from dataclasses import dataclass
from statistics import mean
from typing import Any

import results

LIMIT_DRIFT = 0.10
Measured = dict[str, dict[str, Any]]

NOTES = """
Images are source images; each gives two views. All variants train the same encoder (`conv`, width 128), projector
widths, loss, optimizer, batch and temperature; `parameters` and the losses show it (lightly's projector ends in a
normalisation with scale and shift, which is 256 parameters more). *Limit* is forward, backward and optimizer on one
resident pair of views, so its loss falls faster; its allocator gives no memory back to the system, which neither
selfray nor lightly asks for; *malloc as it comes* is without that. *selfray* is `train.launch.pretrain`: Ray Data,
Ray Train with one worker, views drawn in the step, metrics, gradient norm, looks at the embeddings. *lightly +
Lightning* is lightly's transform, projection head and loss in PyTorch Lightning's trainer with two loader workers;
its views have the recipe's settings. *images/s* is the
median and *best* the maximum over rows of {row} steps; *overall* counts everything after the warm-up.
"""


@dataclass(frozen=True)
class Ratio:
    """One claim: how a figure compares with another, and what it should be at least."""

    claim: str
    value: float | None  # None: not measured
    target: float

    @property
    def verdict(self) -> str:
        """The claim's fate in a word."""
        if self.value is None:
            return "not measured"
        return "met" if self.value >= self.target else "missed"


def limit_of(measured: Measured, precision: str) -> float:
    """The mean of the two limits of a precision."""
    return mean((measured[f"limit {precision}"]["median"], measured[f"limit {precision}, again"]["median"]))


def drift(measured: Measured) -> float:
    """The larger of the two precisions' differences between the first and the last limit, relative to their mean."""
    return max(
        abs(measured[f"limit {p}"]["median"] - measured[f"limit {p}, again"]["median"]) / limit_of(measured, p)
        for p in ("fp32", "bf16")
    )


def disturbance(measured: Measured) -> str:
    """Why no figure of the run can be believed; nothing if they can."""
    if drift(measured) > LIMIT_DRIFT:
        return f"the two limits of a precision differ by {drift(measured):.0%}, more than {LIMIT_DRIFT:.0%}"
    for name, told in measured.items():
        bound = limit_of(measured, told["precision"])
        if told.get("median", 0.0) > (1 + LIMIT_DRIFT) * bound:
            return f"{name} was {told['median'] / bound:.2f} times as fast as its limit, which nothing can be"
    return ""


def ratios(measured: Measured, shipped: str) -> list[Ratio]:
    """The claims; `shipped` is the precision that selfray chooses here by itself."""

    def rate(name: str) -> float | None:
        return measured[name].get("median")

    def over(mine: str, other: float | None) -> float | None:
        value = rate(mine)
        return None if value is None or other is None else value / other

    peer = "lightly + Lightning {}"
    return [
        Ratio("selfray / limit, fp32", over("selfray fp32", limit_of(measured, "fp32")), 0.95),
        Ratio("selfray / limit, bf16", over("selfray bf16", limit_of(measured, "bf16")), 0.88),
        Ratio(
            f"selfray ({shipped}) / lightly + Lightning (fp32), both as shipped",
            over(f"selfray {shipped}", rate(peer.format("fp32"))),
            3.0,
        ),
        Ratio("selfray / lightly + Lightning, both fp32", over("selfray fp32", rate(peer.format("fp32"))), 1.0),
        Ratio("selfray / lightly + Lightning, both bf16", over("selfray bf16", rate(peer.format("bf16"))), 1.0),
    ]


def shown(measured: Measured, found: list[Ratio]) -> list[tuple[str, list[str], list[list[str]]]]:
    """Title, header and rows of both tables."""
    header = ["variant", "images/s", "best", "overall", "of limit", "rows", "loss, first and last row", "parameters"]
    rows = []
    for name, told in measured.items():
        if "error" in told:
            rows.append([name, f"not measured: {told['error']}", *[""] * (len(header) - 2)])
            continue
        share = told["median"] / limit_of(measured, told["precision"])
        label = name + (", compiled" if told["compile"] else "")
        figures = [f"{told[key]:,.0f}" for key in ("median", "best", "overall")]
        losses = ", ".join(f"{loss:.2f}" for loss in told["loss"])
        rows.append([label, *figures, f"{share:.2f}", str(told["rows"]), losses, f"{told['parameters']:,}"])
    claims = [
        [ratio.claim, "-" if ratio.value is None else f"{ratio.value:.2f}", f"{ratio.target:g}", ratio.verdict]
        for ratio in found
    ]
    return [("images/s", header, rows), ("ratios", ["ratio", "measured", "at least", "verdict"], claims)]


def markdown(asked: argparse.Namespace, facts: dict[str, Any], measured: Measured, found: list[Ratio]) -> str:
    """The section of RESULTS.md."""
    (_, *variants), (_, *claims) = shown(measured, found)
    return "\n\n".join(
        [
            results.provenance(facts) + f"  \n{asked.corpus}, batch {asked.batch}, {asked.threads} torch threads; "
            f"the two limits of a precision differ by {drift(measured):.1%} at most",
            results.table(*claims),
            results.table(*variants),
            " ".join(NOTES.format(row=asked.row).split()),
        ]
    )
