"""Adds a `total` column to a CSV file of numbers, and a last row with the sum of each column.

Usage: python process.py INPUT OUTPUT
"""

import csv
import sys


def process(rows):
    header, *body = rows
    numbers = [[float(cell) for cell in row] for row in body]
    numbers = [row + [sum(row)] for row in numbers]
    sums = [sum(column) for column in zip(*numbers)]
    yield header + ["total"]
    for row in numbers + [sums]:
        yield [f"{cell:g}" for cell in row]


def main():
    source, target = sys.argv[1:]
    with open(source, newline="") as f:
        rows = list(csv.reader(f))
    with open(target, "w", newline="") as f:
        csv.writer(f).writerows(process(rows))


if __name__ == "__main__":
    main()
