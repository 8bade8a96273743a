"""The data files of WordNet (format: wndb(5WN)): senses with their glosses, and how alike two senses are."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

PARTS = ("noun", "verb", "adj", "adv")
CLASSES = (  # by the number of the lexicographer file: lexnames(5WN)
    *("adj.all", "adj.pert", "adv.all", "noun.Tops", "noun.act", "noun.animal", "noun.artifact", "noun.attribute"),
    *("noun.body", "noun.cognition", "noun.communication", "noun.event", "noun.feeling", "noun.food", "noun.group"),
    *("noun.location", "noun.motive", "noun.object", "noun.person", "noun.phenomenon", "noun.plant"),
    *("noun.possession", "noun.process", "noun.quantity", "noun.relation", "noun.shape", "noun.state"),
    *("noun.substance", "noun.time", "verb.body", "verb.change", "verb.cognition", "verb.communication"),
    *("verb.competition", "verb.consumption", "verb.contact", "verb.creation", "verb.emotion", "verb.motion"),
    *("verb.perception", "verb.possession", "verb.social", "verb.stative", "verb.weather", "adj.ppl"),
)
_EXAMPLE = re.compile(r'"([^"]*)"')
_EXAMPLES = re.compile(r';?\s*"')


@dataclass(frozen=True)
class Sense:
    """A set of words of one meaning."""

    key: str  # part of speech and place in its file, such as n00001740
    kind: str  # one of `CLASSES`
    gloss: str  # definition and examples
    above: tuple[str, ...]  # keys of the senses that it is a kind or an instance of

    @property
    def definition(self) -> str:
        """The gloss without its examples."""
        return _EXAMPLES.split(self.gloss, maxsplit=1)[0].strip(" ;")

    @property
    def examples(self) -> list[str]:
        """Sentences and phrases that use one of its words."""
        return [found for example in _EXAMPLE.findall(self.gloss) if (found := example.strip())]


def senses(folder: Path) -> Iterator[Sense]:
    """All senses in the order of the files."""
    for part in PARTS:
        with (folder / f"data.{part}").open(encoding="utf-8") as lines:
            yield from (parsed(line) for line in lines if not line.startswith("  "))  # the licence is indented


def parsed(line: str) -> Sense:
    """A line: offset, lexicographer file, type, words (a hexadecimal count), pointers (a decimal one), |, gloss."""
    facts, gloss = line.split(" | ", 1)
    fields = facts.split()
    at = 4 + 2 * int(fields[3], 16)
    pointers = fields[at + 1 : at + 1 + 4 * int(fields[at])]
    signs, places, parts = pointers[::4], pointers[1::4], pointers[2::4]
    above = tuple(p + o for sign, o, p in zip(signs, places, parts, strict=True) if sign in ("@", "@i"))
    part = "a" if fields[2] == "s" else fields[2]  # pointers call satellites adjectives too
    return Sense(part + fields[0], CLASSES[int(fields[1])], gloss.strip(), above)


class Tree:
    """What is above what.

    Args:
        above: key of a sense -> keys of those directly above it.
    """

    def __init__(self, above: Mapping[str, tuple[str, ...]]):
        self._above = above
        self._known: dict[str, dict[str, int]] = {}
        self._depths: dict[str, int] = {}

    def ancestors(self, key: str) -> dict[str, int]:
        """Every sense above one, itself included, with the fewest steps to it."""
        if key not in self._known:
            self._known[key] = self._climbed(key)
        return self._known[key]

    def _climbed(self, key: str) -> dict[str, int]:
        found, level, steps = {key: 0}, [key], 0
        while level:
            level, steps = [up for one in level for up in self._above.get(one, ()) if up not in found], steps + 1
            found |= dict.fromkeys(level, steps)
        return found

    def depth(self, key: str) -> int:
        """Senses on the shortest way to the top, both ends included."""
        if key not in self._depths:
            tops = [steps for up, steps in self.ancestors(key).items() if not self._above.get(up)]
            self._depths[key] = 1 + min(tops)
        return self._depths[key]

    def similarity(self, first: str, second: str) -> float:
        """Of Wu and Palmer (ACL 1994): 2 d / (2 d + steps up from both), by the best sense of depth d above both.

        1 for the same sense, 0 for senses with nothing above both.
        """
        one, other = self.ancestors(first), self.ancestors(second)
        found = [(2 * self.depth(up), one[up] + other[up]) for up in one.keys() & other.keys()]
        return max((twice / (twice + steps) for twice, steps in found), default=0.0)
