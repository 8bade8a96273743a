"""Files for probes that lie beside a corpus, or anywhere: pairs of texts, named stretches of recordings."""

import hashlib
import io
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq

from ..corpus import place
from ..corpus.place import Place
from ..errors import UserError

FILES = {"pairs": "pairs.parquet", "frames": "frames.parquet"}
"""What a corpus that has a file for a probe calls it."""


def there(probe: str, corpus: Place) -> bool:
    """Whether a corpus has a file of its own for that probe."""
    return place.exists(corpus, FILES[probe])


def content(probe: str, file: str, corpus: Place, advice: str = "") -> bytes:
    """The bytes of a file of the corpus's folder, or else of the working directory.

    Raises:
        UserError: it is in neither.
    """
    if not Path(file).is_absolute() and place.exists(corpus, file):
        return bytes(place.storage(place.absolute(corpus)).read(file))
    if not Path(file).is_file():
        raise UserError(f"{probe}: no file {file} in {corpus}, nor here; {advice}")
    return Path(file).read_bytes()


def digest(probe: str, file: str, corpus: Place) -> str:
    """Changes with the file; empty if there is none."""
    try:
        return hashlib.sha256(content(probe, file, corpus)).hexdigest()[:32]
    except UserError:
        return ""


def table(probe: str, file: str, corpus: Place, texts: tuple[str, ...], advice: str) -> pa.Table:
    """A Parquet or CSV file.

    Args:
        texts: columns that must be there and are text.
        advice: what a right file has, for errors.

    Raises:
        UserError: there is no such file, it cannot be read, or it lacks one of these columns.
    """
    data = io.BytesIO(content(probe, file, corpus, advice))
    try:
        if file.endswith(".csv"):
            options = csv.ConvertOptions(column_types=dict.fromkeys(texts, pa.string()))
            found = csv.read_csv(data, parse_options=csv.ParseOptions(newlines_in_values=True), convert_options=options)
        else:
            found = pq.read_table(data)
    except pa.ArrowException as error:
        raise UserError(f"{probe}: {file} cannot be read ({error}); {advice}") from None
    if lacking := set(texts) - set(found.column_names):
        raise UserError(f"{probe}: {file} has no column {' or '.join(sorted(lacking))}; {advice}")
    return found
