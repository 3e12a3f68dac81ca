"""The folder of the evaluation set: SET/KIND/NAME.png, and a table of all pictures."""

import csv
import hashlib
import io
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from PIL import Image as Pillow

from benchmarks.foreign.picture import Picture
from biounet_edge.errors import InputError
from biounet_edge.storage import write_result

TABLE = "pictures.csv"
COLUMNS = ("set", "kind", "picture", "source", "sha256")


def write_pictures(folder: Path, pictures: Iterable[Picture]) -> Counter[tuple[str, str]]:
    """Write pictures as PNG files, and the table.

    Args:
        folder: Its folders `choose` and `judge` must be missing or empty.
        pictures: What to write.

    Returns:
        Pictures by set and kind.

    Raises:
        InputError: If the folder has pictures already, or one picture is there twice.
        OutputError: If a file cannot be written.
    """
    if next(folder.glob("*/*/*.png"), None):
        raise InputError(f"{folder} has pictures already; name another folder or delete them")
    folder.mkdir(parents=True, exist_ok=True)
    rows, places = [], {}
    for picture in pictures:
        place = f"{picture.set}/{picture.kind}/{picture.name}.png"
        sha256 = hashlib.sha256(repr(picture.pixels.shape).encode() + picture.pixels.tobytes()).hexdigest()
        if sha256 in places:
            raise InputError(f"{place} and {places[sha256]} are the same picture; leave one of them out")
        places[sha256] = place
        file = io.BytesIO()
        Pillow.fromarray(picture.pixels).save(file, "PNG")
        write_result(folder, place, file.getvalue())
        rows.append((picture.set, picture.kind, place, picture.source, sha256))
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(sorted(rows))
    write_result(folder, TABLE, table.getvalue().encode())
    return Counter((row[0], row[1]) for row in rows)
