"""Measurements of sensors that become corpora of series: HAPT out of a pickle of which nothing is run, and tables."""

import gzip
import lzma
import pickle
import struct
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from selfray.corpus import arrange, catalogue, pickled
from selfray.corpus.manifest import Manifest
from selfray.corpus.read import read_rows
from selfray.errors import UserError

STOP = b"."


def name(module, attribute):
    return f"c{module}\n{attribute}\n".encode()


def text(value):
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value):
    return b"J" + struct.pack("<i", value)


def group(*items):
    return b"(" + b"".join(items) + b"t"


def array(values):
    """An array as numpy wrote it in the days of Python 2: made empty, then given its state."""
    kind, letters = name("numpy", "dtype"), values.dtype.str[1:]
    of_type = kind + group(text(letters), number(0), number(1)) + b"R"
    of_type += group(number(3), text("<"), b"N", b"N", b"N", number(-1), number(-1), number(0)) + b"b"
    content = name("_codecs", "encode") + group(text(values.tobytes().decode("latin1")), text("latin1")) + b"R"
    made = name("numpy.core.multiarray", "_reconstruct")
    made += group(name("numpy", "ndarray"), group(number(0)), text("b")) + b"R"
    shape = group(*(number(size) for size in values.shape))
    return made + group(number(1), shape, of_type, b"I00\n", content) + b"b"


def index(names):
    held = b"](" + b"".join(map(text, names)) + b"e"
    inner = name("numpy.core.multiarray", "_reconstruct")
    inner += group(name("numpy", "ndarray"), group(number(0)), text("b")) + b"R"
    objects = name("numpy", "dtype") + group(text("O8"), number(0), number(1)) + b"R"
    objects += group(number(3), text("|"), b"N", b"N", b"N", number(-1), number(-1), number(63)) + b"b"
    inner += group(number(1), group(number(len(names))), objects, b"I00\n", held) + b"b"
    of_index = group(name("pandas.core.indexes.base", "Index"), b"}" + text("data") + inner + b"s")
    return name("pandas.core.indexes.base", "_new_Index") + of_index + b"R"


def table(columns):
    """A table of one type of numbers as pandas wrote it."""
    block = array(np.stack(list(columns.values())))
    manager = name("pandas.core.internals.managers", "BlockManager")
    made = name("copy_reg", "_reconstructor")
    manager = made + group(manager, name("__builtin__", "object"), b"N") + b"R"
    names = index(list(columns))
    manager += group(b"](" + names + b"e", b"](" + block + b"e", b"](" + names + b"e") + b"b"
    frame = made + group(name("pandas.core.frame", "DataFrame"), name("__builtin__", "object"), b"N") + b"R"
    return frame + b"}" + text("_data") + manager + b"s" + b"b"


def people(tables):
    """Lists of tables by person."""
    said = b"".join(number(who) + b"](" + table(columns) + b"e" for who, columns in tables.items())
    return b"\x80\x02}(" + said + b"u" + STOP


def test_tables_are_read_as_they_were_written():
    columns = {"acc-x": np.array([0.5, -1.0, 2.0]), "label": np.array([1.0, 1.0, 5.0])}
    (place, found), (other, _) = pickled.tables(pickled.read(people({7: columns, 9: columns}), "it"))
    assert (place, other) == ((7, 0), (9, 0))
    assert {key: list(values) for key, values in found.items()} == {key: list(of) for key, of in columns.items()}


class Evil:
    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return Path.touch, (self.file,)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_that_wants_to_run_something_is_refused_and_runs_nothing(tmp_path, protocol):
    evil = pickle.dumps({1: [Evil(tmp_path / "run")]}, protocol)
    with pytest.raises(UserError, match=r"^it is a pickle that asks for .*, which no table needs; it is refused$"):
        pickled.read(evil, "it")
    assert not (tmp_path / "run").exists()
    pickle.loads(evil)
    assert (tmp_path / "run").exists()


@pytest.mark.parametrize("damage", [b"", b"\x80\x02", people({})[:-2], b"\x80\x02Ra.", b"\x80\x02}(K\x01u."])
def test_a_damaged_pickle_is_refused(damage):
    with pytest.raises(UserError, match="it is a damaged pickle"):
        pickled.read(damage, "it")


@pytest.mark.parametrize("said", [b"\x80\x02K\x01.", b"\x80\x02](K\x01e.", b"\x80\x02" + array(np.ones(3)) + STOP])
def test_a_pickle_of_something_else_than_tables_is_refused(said):
    with pytest.raises(UserError, match="something else than tables"):
        list(pickled.tables(pickled.read(said, "it")))


def test_windows_of_activities_lie_within_one_of_them_and_people_are_held_out(tmp_path):
    labels = np.repeat([0.0, 1.0, 12.0, 2.0], [200, 256, 100, 128])
    columns = {sensor: np.arange(684.0) + 1000 * at for at, sensor in enumerate(arrange.SENSORS)} | {"label": labels}
    file = tmp_path / "it.pkl.gz"
    file.write_bytes(gzip.compress(people({1: columns, 2: columns})))
    arrange.activities(file, tmp_path / "made")
    for split, person in (("train", 1), ("test", 2)):
        rows = pq.read_table(tmp_path / "made" / f"{split}.parquet").to_pylist()
        assert [row["label"] for row in rows] == ["walking"] * 3 + ["walking upstairs"]
        assert [row["acc-x"][0] for row in rows] == [200, 264, 328, 556]
        assert [row["gyro-z"][-1] for row in rows] == [5327, 5391, 5455, 5683]
        assert {row["person"] for row in rows} == {person}
        assert {len(row[sensor]) for row in rows for sensor in arrange.SENSORS} == {128}


def test_a_table_in_time_is_held_out_at_its_end_and_keeps_its_gaps(tmp_path):
    rows = [f"{i},{'NA' if i % 3 == 0 else i},{i},1,1000,2.5,0,0,N" for i in range(10)]
    file = tmp_path / "pm.csv"
    file.write_text("\n".join(["No,pm2.5,DEWP,TEMP,PRES,Iws,Is,Ir,cbwd", *rows]))
    arrange.air(file, tmp_path / "made")
    train, test = (pq.read_table(tmp_path / "made" / f"{split}.parquet") for split in ("train", "test"))
    assert train["pm2.5"].to_pylist() == [None, 1, 2, None, 4, 5, None, 7]
    assert test["DEWP"].to_pylist() == [8, 9]
    assert train.column_names == ["pm2.5", "DEWP", "TEMP", "PRES", "Iws", "Is", "Ir"]


def test_columns_of_random_numbers_are_left_out(tmp_path):
    file = tmp_path / "energy.csv.xz"
    file.write_bytes(lzma.compress(b"date,Appliances,T1,rv1,rv2\n" + b"2016-01-11 17:00:00,60,19.9,1.5,1.5\n" * 10))
    arrange.appliances(file, tmp_path / "made")
    test = pq.read_table(tmp_path / "made" / "test.parquet")
    assert test.column_names == ["Appliances", "T1"]
    assert test["Appliances"].to_pylist() == [60, 60]


@pytest.mark.slow
def test_hapt_has_the_windows_of_the_official_split(tmp_path, monkeypatch):
    monkeypatch.setenv("SELFRAY_CORPORA", str(tmp_path))
    folder = catalogue.fetch("hapt")
    manifest = Manifest.read(folder)
    assert {split: manifest.rows(split) for split in manifest.splits} == {"train": 7767, "test": 3162}
    assert manifest.shape == (128, 6)
    assert len(manifest.classes) == 12
    resting = manifest.classes.index("lying")
    rows = read_rows(folder, "train", slice(None))
    assert abs(rows["data"][rows["label"] == resting][..., 0]).mean() < 0.5  # x points up or down in those who stand


@pytest.mark.slow
def test_the_tables_have_the_gaps_that_their_authors_left(tmp_path, monkeypatch):
    monkeypatch.setenv("SELFRAY_CORPORA", str(tmp_path))
    for name_, channels in (("beijing-pm25", 7), ("appliances", 26)):
        manifest = Manifest.read(catalogue.fetch(name_))
        assert manifest.shape == (384, channels)
    rows = [read_rows(tmp_path / "beijing-pm25", split, slice(None))["data"] for split in ("train", "test")]
    assert sum(int(np.isnan(part[..., 0]).sum()) for part in rows) > 2067
