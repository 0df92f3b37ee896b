"""The public airports and routes of ``bokeh_sampledata``, as CSV files that ``memql import`` takes as they are."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

__all__ = ["FILES", "prepare"]

Rows = Iterator[dict[str, str]]

FILES: Mapping[str, str] = {"v1:airline:airport": "airports.csv", "v1:airline:route": "routes.csv"}
"""The file of each concept, in the order to import them; the column ``id`` holds the ids."""


def prepare(target: Path) -> list[Path]:
    """Write the files of :data:`FILES` into a folder and return their paths.

    :raises SystemExit: when the data package is not installed.
    """
    source = _package_data()
    target.mkdir(parents=True, exist_ok=True)
    written = []
    for name, rows in (("airports.csv", _airports(source)), ("routes.csv", _routes(source))):
        path = target / name
        _write(path, rows)
        written.append(path)
    return written


def _package_data() -> Path:
    # The package imports pandas when it is imported; its files are all that is wanted here.
    spec = find_spec("bokeh_sampledata")
    if spec is None or spec.origin is None:
        raise SystemExit("the example needs its data: uv sync --group example (or pip install bokeh-sampledata)")
    return Path(spec.origin).parent / "_data"


def _airports(source: Path) -> Rows:
    with (source / "airports.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            yield {
                "id": row["IATA"],
                "iata": row["IATA"],
                "name": row["Name"],
                "city": row["City"],
                "country": row["Country"],
                "size": row["Type"].removesuffix("_airport"),
                "location.latitude": row["Latitude"],
                "location.longitude": row["Longitude"],
                "location.altitude": row["Altitude"],
                "timezone": row["TZ"],
            }


def _routes(source: Path) -> Rows:
    with gzip.open(source / "routes.csv.gz", "rb") as packed:
        for row in csv.DictReader(io.TextIOWrapper(packed, encoding="utf-8", newline="")):
            yield {
                "id": f"{row['Airline']}-{row['Source']}-{row['Destination']}",
                "carrierId": row["Airline"],
                "originId": row["Source"],
                "destinationId": row["Destination"],
                "codeshare": "true" if row["Codeshare"] == "Y" else "false",
                "stops": row["Stops"] or "0",
                "equipment": json.dumps(row["Equipment"].split()) if row["Equipment"] else "",
            }


def _write(path: Path, rows: Iterable[dict[str, str]]) -> None:
    rows = iter(rows)
    first = next(rows)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(first))
        writer.writeheader()
        writer.writerow(first)
        writer.writerows(rows)
