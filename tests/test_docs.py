"""The documentation against the code: links resolve, pipelines load, commands and targets exist."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
LATER: set[str] = set()
"""Files that pages may name before they are there."""


def fenced(page: Path, *languages: str) -> Iterator[str]:
    """The contents of a page's fenced blocks in these languages."""
    for language, text in re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(encoding="utf-8"), re.S | re.M):
        if language in languages:
            yield text


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands() -> dict[str, set[str]]:
    """Every command of the program, with its sub-commands."""
    import typer.main

    from selfray.cli import app

    root = typer.main.get_command(app)
    return {name: set(getattr(command, "commands", {})) for name, command in root.commands.items()}  # type: ignore[attr-defined]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_resolve(page):
    wrong = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        path, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:", path):
            continue
        file = (page.parent / path).resolve() if path else page
        if not file.exists():
            if file.is_relative_to(ROOT) and file.relative_to(ROOT).as_posix() not in LATER:
                wrong.append(target)
        elif anchor and anchor not in anchors(file):
            wrong.append(target)
    assert not wrong


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pipelines_in_the_text_load(page, tmp_path):
    from selfray import recipe

    for number, text in enumerate(fenced(page, "yaml")):
        if "pretrain:" not in text:
            continue
        file = tmp_path / f"pipeline-{number}.yaml"
        file.write_text(text, encoding="utf-8")
        loaded = recipe.load(file)
        assert recipe.parse(loaded.plain()) == loaded


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_in_the_text_exist(page):
    known, wrong = commands(), []
    for block in fenced(page, "bash"):
        for first, second in re.findall(r"\bselfray +([a-z][\w-]*)(?: +([\w-]+))?", block):
            if first not in known or (known[first] and second not in known[first]):
                wrong.append(f"selfray {first} {second}".strip())
    for first, second in re.findall(r"`selfray ([a-z][\w-]*)(?: ([\w-]+))?[^`]*`", prose(page)):
        if first not in known or (known[first] and second not in known[first]):
            wrong.append(f"selfray {first} {second}".strip())
    assert not wrong


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_make_targets_in_the_text_exist(page):
    makefile = ROOT / "Makefile"
    if not makefile.is_file():
        pytest.skip("there is no Makefile")
    targets = set(re.findall(r"^([\w-]+):", makefile.read_text(encoding="utf-8"), re.M))
    text = "\n".join([*fenced(page, "bash"), *re.findall(r"`(make [^`]*)`", prose(page))])
    assert set(re.findall(r"\bmake ([\w-]+)", text)) <= targets


def test_every_setting_of_pretrain_is_documented():
    from selfray.recipe import Checkpoints, Pretrain

    text = (ROOT / "docs" / "pretrain.md").read_text(encoding="utf-8")
    keys = [key for key in Pretrain.model_fields if key != "checkpoint"]
    keys += [f"checkpoint.{key}" for key in Checkpoints.model_fields]
    assert [key for key in keys if f"| `{key}` |" not in text] == []


@pytest.mark.parametrize(("kind", "page"), [("image", "images"), ("series", "series"), ("audio", "audio")])
def test_every_setting_of_views_is_documented(kind, page):
    from selfray import signature, views

    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    assert [name for name, *_ in signature.describe(views.find(kind)) if f"| `{name}` |" not in text] == []


def test_objectives_are_documented_with_all_their_settings():
    from selfray import objectives, signature

    text = (ROOT / "docs" / "objectives.md").read_text(encoding="utf-8")
    sections = {section.split("\n", 1)[0]: section for section in text.split("\n## ")}
    documented = [name for name in objectives.names() if name in sections]  # a new objective may come without a page
    assert documented
    for name in documented:
        keys = [key for key, *_ in signature.describe(objectives.find(name))]
        assert [key for key in keys if f"| `{key}` |" not in sections[name]] == [], name


def test_the_example_of_contributing_is_what_the_repository_holds():
    before, *blocks = re.split(
        r"^```(?:python|yaml)\n", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), flags=re.M
    )
    assert len(blocks) == 3
    for block in blocks:
        path = re.findall(r"`([\w/]+\.(?:py|yaml))`", before)[-1]  # the file that the text named last
        shown, before = block.split("```\n", 1)
        assert (ROOT / path).read_text(encoding="utf-8") == shown, path
