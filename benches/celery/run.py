#!/usr/bin/env python3
"""Measures Celery's orchestration with tasks that do nothing, for comparison with Aquatint.

Runs against the servers that AQUATINT_TEST_POSTGRES and AQUATINT_TEST_REDIS name:

    scripts/services run -- "$(benches/celery/setup)" benches/celery/run.py --json celery.json

Times end at the moment the last task's end was recorded, by the worker's clock, not when the client
noticed; where a client holds the result, that time is given too.
"""

import argparse
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version

import configurations
import measures
from rig import Rig, Trouble


def main():
    options = arguments()
    # What was started must be ended however this ends.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    chosen = options.only or [c.name for c in configurations.ALL]
    report = {"settings": settings(options), "configurations": []}
    print(json.dumps(report["settings"]), flush=True)
    for configuration in configurations.ALL:
        if configuration.name not in chosen:
            continue
        if len(chosen) == 1:
            report["configurations"].append(measured(configuration, options))
        else:
            report["configurations"].append(measured_apart(configuration, options))
    report["settings"]["load_average_after"] = os.getloadavg()[0]
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(report, file, indent=1)


def measured(configuration, options):
    """Every workload with one configuration."""
    print(f"\n{configuration.title}  [{configuration.name}]", flush=True)
    rows = []
    with Rig.started(configuration, options.postgres, options.redis) as rig:
        for measure in measures.ALL:
            if options.workload not in measure.name or (is_small(rig, options) and measure.skipped_when_quick):
                continue
            rows.append(take(measure, rig, options))
    return {
        "name": configuration.name,
        "title": configuration.title,
        "task": configuration.meaning,
        "rows": rows,
    }


def measured_apart(configuration, options):
    """The same in a process of its own: Celery's tasks, signals and connections are global to one."""
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "figures.json")
        command = [sys.executable, os.path.abspath(__file__), "--only", configuration.name, "--json", file]
        command += ["--repeat", str(options.repeat), "--limit", str(options.limit)]
        command += ["--workload", options.workload, *(["--quick"] if options.quick else [])]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            # Its settings are ours.
            process.stdout.readline()
            for line in process.stdout:
                print(line, end="", flush=True)
            if process.wait() != 0:
                sys.exit(process.returncode)
        finally:
            process.terminate()
            process.wait()
        with open(file, encoding="utf-8") as figures:
            return json.load(figures)["configurations"][0]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    names = [c.name for c in configurations.ALL]
    parser.add_argument("--json", help="write the figures to this file")
    parser.add_argument("--quick", action="store_true", help="smaller workloads, one repetition")
    parser.add_argument("--repeat", type=int, default=3, help="repetitions; the median counts (3)")
    parser.add_argument("--only", action="append", choices=names, help="this configuration; repeatable")
    parser.add_argument("--workload", default="", help="only those whose name contains this")
    parser.add_argument("--limit", type=float, default=120.0, help="seconds a measurement may take (120)")
    options = parser.parse_args()
    for name in ("POSTGRES", "REDIS"):
        url = os.environ.get(f"AQUATINT_TEST_{name}")
        if not url:
            parser.error(f"AQUATINT_TEST_{name} is not set; run this under: scripts/services run --")
        setattr(options, name.lower(), url)
    return options


def settings(options):
    packages = ("celery", "kombu", "redis", "hiredis", "psycopg", "SQLAlchemy")
    return {
        "python": platform.python_version(),
        **{name.lower(): version(name) for name in packages},
        **measures.servers(options.postgres, options.redis),
        "cores": os.cpu_count(),
        "load_average_before": os.getloadavg()[0],
        "quick": options.quick,
        "repeat": 1 if options.quick else options.repeat,
    }


def is_small(rig, options):
    """Whether workloads are cut down: this backend does some forty tasks a second, and would take hours."""
    return options.quick or rig.configuration.database_results


def take(measure, rig, options):
    """One workload, its repetitions, its line in the table."""
    size = measure.quick_size if is_small(rig, options) else measure.size
    repeat = 1 if is_small(rig, options) or measure.once else options.repeat
    row = {"workload": measure.name, "unit": measure.unit, "size": size}
    try:
        samples = [measure.run(rig, size, time.monotonic() + options.limit) for _ in range(repeat)]
    except Trouble as trouble:
        # A workload that does not end is a result, too; but the workers are not to carry it on.
        row |= {"median": None, "trouble": str(trouble)}
        print(f"  {measure.name:<34} {'–':>12}  {trouble}", flush=True)
        rig.restart()
        return row
    values = sorted(s.value for s in samples)
    row |= {"median": statistics.median(values), "least": values[0], "most": values[-1]}
    heard = [s.extra for s in samples if s.extra]
    extras = {key: statistics.median(e[key] for e in heard) for key in heard[0]} if heard else {}
    notes = sorted({s.note for s in samples if s.note})
    row |= extras | ({"notes": notes} if notes else {})
    shown = "".join(f"   {key} {show(value, measure.unit)}" for key, value in extras.items())
    shown += "".join(f"   {note}" for note in notes)
    scaled = "" if size == measure.size else f"   (size {size:,}, not {measure.size:,})"
    print(f"  {measure.name:<34} {show(row['median'], measure.unit):>12}{shown}{scaled}", flush=True)
    return row


def show(value, unit):
    if unit == "tasks/s":
        return f"{value:,.0f} tasks/s"
    return f"{value:.3f} s" if unit == "s" else f"{value:.2f} ms"


if __name__ == "__main__":
    main()
