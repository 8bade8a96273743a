"""The gate: conditions on what was measured, in a language of one comparison a line.

    knn >= 0.9                      a probe's first number against a number; others are such as `clustering/ari`
    linear >= champion - 0.005      against the same of the champion, on the same corpus
    score/rankme > untrained + 5    against the untrained encoder; probes also know `raw`

Nothing is evaluated as code: a condition is a name, a sign, and a number or a base with a number added.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from operator import ge, gt, le, lt
from typing import Any

from .discovery import nearest

SIGNS: dict[str, Callable[[float, float], bool]] = {">=": ge, "<=": le, ">": gt, "<": lt}
BASES = ("champion", "untrained", "raw")
_NUMBER = r"\d+(?:\.\d+)?(?:[eE][+-]?\d+)?"
_FORM = re.compile(
    rf"(?P<metric>[A-Za-z](?:[\w./-]*\w)?)\s*(?P<sign>>=|<=|>|<)\s*"
    rf"(?:(?P<number>[+-]?{_NUMBER})|(?P<base>[a-z]+)(?:\s*(?P<plus>[+-])\s*(?P<margin>{_NUMBER}))?)"
)


@dataclass(frozen=True)
class Condition:
    """One line of `gate.require`."""

    text: str
    metric: str
    sign: str
    base: str  # one of BASES, or nothing
    number: float  # what is compared with, or what is added to the base


@dataclass(frozen=True)
class Finding:
    """What came of a condition."""

    condition: str
    met: bool
    said: str  # with both numbers


def parse(text: str) -> Condition:
    """Read a condition.

    Raises:
        ValueError: it is not of the form `metric >= number` or `metric >= base +- number`.
    """
    found = _FORM.fullmatch(text.strip())
    if not found:
        raise ValueError(f"{text!r} is no condition; write such as 'knn >= 0.9' or 'linear >= champion - 0.005'")
    base = found["base"] or ""
    if base and base not in BASES:
        raise ValueError(f"{text!r} compares with {base!r}{nearest(base, list(BASES))}; there are {', '.join(BASES)}")
    number = float(found["number"] or (found["plus"] or "") + (found["margin"] or "0"))
    return Condition(text.strip(), found["metric"], found["sign"], base, number)


def problems(requirements: list[str], probes: list[str], scores: list[str]) -> list[str]:
    """What is wrong with conditions on metrics that this pipeline will not have, a sentence each."""
    known = [*probes, *(f"score/{name}" for name in scores)]
    found = []
    for text in requirements:
        asked = parse(text)
        if asked.metric not in known and asked.metric.partition("/")[0] not in probes:
            hint = nearest(asked.metric, known)
            found.append(f"gate.require: {text!r}: no metric {asked.metric!r}{hint}; there are {', '.join(known)}")
        elif asked.base == "raw" and asked.metric.startswith("score/"):
            found.append(f"gate.require: {text!r}: raw samples have no {asked.metric}; compare with untrained")
    return found


def values(results: Mapping[str, Any], of: str = "pretrained") -> dict[str, float]:
    """Metric -> value of an evaluation's `results.json`; `of` may be `untrained` and `raw` too."""
    found = {row["probe"]: row[of] for row in results["probes"] if of in row}
    return found | {f"score/{row['score']}": row[of] for row in results["scores"] if of in row}


def judge(requirements: list[str], results: Mapping[str, Any], champion: Mapping[str, float] | None) -> list[Finding]:
    """Compare what was measured with every condition.

    Args:
        requirements: the texts of `gate.require`.
        results: of the candidate's evaluation.
        champion: the champion's metrics on the same corpus; None if there is no champion yet, and then conditions on it
            are met.
    """
    own = values(results)
    bases = {base: values(results, base) for base in ("untrained", "raw")} | {"champion": champion}
    return [_judged(parse(text), own, bases) for text in requirements]


def _judged(asked: Condition, own: Mapping[str, float], bases: Mapping[str, Mapping[str, float] | None]) -> Finding:
    if asked.metric not in own:
        return Finding(asked.text, False, f"{asked.metric} was not measured, as of a corpus without labels")
    value = own[asked.metric]
    base = bases[asked.base] if asked.base else {asked.metric: 0.0}
    if base is None:
        return Finding(asked.text, True, f"{asked.metric} is {value:.6g}; there is no champion yet")
    if asked.metric not in base:
        return Finding(asked.text, False, f"{asked.metric} of {asked.base} was not measured")
    wanted = base[asked.metric] + asked.number
    met = SIGNS[asked.sign](value, wanted)  # false where either is not a number
    of = f" ({asked.base} {base[asked.metric]:.6g})" if asked.base else ""
    return Finding(asked.text, met, f"{asked.metric} is {value:.6g}, asked was {asked.sign} {wanted:.6g}{of}")


def plain(findings: list[Finding]) -> list[dict[str, Any]]:
    """For JSON."""
    return [asdict(finding) for finding in findings]
