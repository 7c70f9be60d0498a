#!/usr/bin/env python3
"""One table out of both sides' figures: Celery's configurations, Aquatint, and how many times better.

usage: table.py CELERY.json AQUATINT.json [TOGETHER.json]
"""

import json
import sys

from run import show


def main(celery_file, aquatint_file, together_file=None):
    celery, aquatint = load(celery_file), load(aquatint_file)
    ours = {row["workload"]: row for row in aquatint["rows"] if "workload" in row}
    columns = celery["configurations"]
    titles = [c["name"] for c in columns]
    print(f"{'':<32}" + "".join(f"{'Celery ' + t:>23}" for t in titles) + f"{'Aquatint':>16}")
    rows = []
    for name in dict.fromkeys(row["workload"] for c in columns for row in c["rows"]):
        our = ours.get(name)
        line, ratios = f"{name:<32}", {}
        for column in columns:
            row = next((r for r in column["rows"] if r["workload"] == name), None)
            cell = "–"
            if row and row["median"] is not None:
                cell = show(row["median"], row["unit"])
                if our:
                    ratios[column["name"]] = times_better(row["median"], our["median"], row["unit"])
                    cell += f" ×{ratios[column['name']]:.1f}"
            line += f"{cell:>23}"
        unit = next(r["unit"] for c in columns for r in c["rows"] if r["workload"] == name)
        print(line + f"{show(our['median'], unit) if our else '–':>16}")
        rows.append({"workload": name, "unit": unit, "aquatint": our and our["median"], "times_better": ratios})
    print("\n×: how many times better Aquatint is than that configuration, in this run. What a task is there:")
    for column in columns:
        print(f"  {column['name']}: {column['task']}")
    print(
        "  Aquatint: submitted durably, claimed, run, settled, its successor unlocked, its run finished,\n"
        "    its events recorded and its result readable"
    )
    for side, figures in (("Celery", celery), ("Aquatint", aquatint)):
        print(f"{side}: {json.dumps(figures['settings'])}")
    if together_file:
        with open(together_file, "w", encoding="utf-8") as file:
            json.dump({"celery": celery, "aquatint": aquatint, "rows": rows}, file, indent=1)


def load(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def times_better(theirs, ours, unit):
    return ours / theirs if unit == "tasks/s" else theirs / ours


if __name__ == "__main__":
    main(*sys.argv[1:])
