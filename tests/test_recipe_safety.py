"""What a value of a recipe can ask for: an environment variable, the date, another key; and no program."""

import pytest

from selfray.errors import UserError
from selfray.recipe import load

PIPELINE = """
name: safe
corpus: {{path: {path}}}
pretrain: {{objective: {{name: simclr}}, encoder: {{name: conv}}, steps: 1}}
{more}
"""


@pytest.fixture
def file(tmp_path):
    def write(path="somewhere", more=""):
        target = tmp_path / "safe.yaml"
        target.write_text(PIPELINE.format(path=path, more=more))
        return target

    return write


def test_the_date_and_the_environment_find_their_way_into_paths(file, monkeypatch):
    monkeypatch.setenv("PLACE", "bucket")
    made = load(file('"s3://${oc.env:PLACE}/${date:%Y/%m}/${name}-${date:}"'), date="2026-02-03")
    assert made.corpus.path == "s3://bucket/2026/02/safe-2026-02-03"


def test_what_is_told_to_people_keeps_the_names_of_variables(file, monkeypatch):
    monkeypatch.setenv("HOOK", "https://example.org/secret")
    made = load(file(more='notify: {webhook: {url: "${oc.env:HOOK}"}}'))
    assert made.notify.webhook.url == "${oc.env:HOOK}"
    assert "secret" not in made.to_yaml()


@pytest.mark.parametrize(
    "value",
    [
        "${oc.create:x}",
        "${oc.decode:x}",
        "${oc.dict.keys:pretrain}",
        "${eval:1}",
        "${python:os.getcwd()}",
        "${ oc.select :x}",
    ],
)
def test_other_interpolations_are_refused(file, value):
    with pytest.raises(UserError, match=r"corpus\.path: there is no \$\{|cannot be read"):
        load(file(f'"{value}"'))


def test_a_tag_of_yaml_builds_nothing(file):
    with pytest.raises(UserError, match="cannot be read"):
        load(file("!!python/object/apply:os.system [echo]"))


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("corpus.path=http://example.org/corpus", "cannot be read; give a path or one of file, s3, gs"),
        ("corpus={source: 'ftp://example.org/raw'}", "cannot be read"),
        ("corpus={mix: {'https://example.org/a': 1}}", "cannot be read"),
        ("evaluate.corpus=http://example.org/corpus", "cannot be read"),
        ("embed.corpus=data:text/plain://x", "cannot be read"),
        ("start_from=http://example.org/encoder", "give champion, models:/name@alias or a folder"),
        ("start_from=runs:/abc/encoder", "give champion"),
        ("notify.webhook.url=file:///etc/passwd", "must begin with http:// or https://"),
    ],
)
def test_addresses_of_other_kinds_are_refused(file, override, said):
    with pytest.raises(UserError) as refused:
        load(file(), [override] if not override.startswith("corpus={") else ["corpus.path=null", override])
    assert said in str(refused.value)
