"""Make input/readings.csv: the use of electricity of eight buildings, hour by hour, 5,000 rows.

Here: the invented figures. Not here: what is computed from them (readings.c).
Keeps: the same file on every machine, to the byte: integers only, its own random numbers.

    python examples/words/make_readings.py > examples/words/input/readings.csv
"""

from __future__ import annotations

import csv
import datetime
import sys
from collections.abc import Iterator
from typing import TextIO

BUILDINGS = {
    "Bakery": 9_400,
    "Boiler house": 21_800,
    "Canteen": 6_100,
    "Laboratory, north wing": 14_900,
    "Laboratory, south wing": 13_200,
    "Library": 4_700,
    "Pool": 17_500,
    'Workshop "Fritz"': 8_300,
}
"""Watt-hours of an average hour."""
HOURS = 625
BEGIN = datetime.datetime(2026, 1, 5)
DAY_PERCENT = (
    *(52, 49, 48, 48, 52, 66, 89, 118, 138, 147, 151, 153),
    *(149, 146, 144, 140, 135, 129, 121, 109, 94, 79, 66, 57),
)
"""Use in each hour of a day, in percent of the average."""
WEEKEND_PERCENT = 58
MISSING_OF_1000 = 9


def random_numbers() -> Iterator[int]:
    """Numbers below 2³¹ from a linear congruential generator."""
    state = 20_260_105
    while True:
        state = (state * 6_364_136_223_846_793_005 + 1_442_695_040_888_963_407) % 2**64
        yield state >> 33


def write_readings(file: TextIO) -> None:
    """Write the whole table."""
    draws = random_numbers()
    table = csv.writer(file, lineterminator="\n")
    table.writerow(("hour", "building", "kwh"))
    for hour in range(HOURS):
        moment = BEGIN + datetime.timedelta(hours=hour)
        for building, average in BUILDINGS.items():
            watt_hours = average * DAY_PERCENT[moment.hour] // 100 * (85 + next(draws) % 31) // 100
            if moment.weekday() >= 5:
                watt_hours = watt_hours * WEEKEND_PERCENT // 100
            is_missing = next(draws) % 1000 < MISSING_OF_1000
            reading = "" if is_missing else f"{watt_hours // 1000}.{watt_hours % 1000:03d}"
            table.writerow((moment.strftime("%Y-%m-%d %H:00"), building, reading))


if __name__ == "__main__":
    write_readings(sys.stdout)
