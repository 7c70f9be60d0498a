"""What dashboards and alerts ask for is what the server tells."""

from __future__ import annotations

import json
import re

import httpx
import yaml

from client import submit, until
from server import HERE

MONITORING = HERE.parents[1] / "examples" / "monitoring"
# Names of ours have an underscore; what the rules record among themselves has a colon.
METRIC = re.compile(r"\baquatint_[a-z_]+")
SERIES = re.compile(r"^(\w+?)(?:\{(.*)\})? \S+$", re.MULTILINE)


def asked() -> dict[str, list[str]]:
    """Every expression of the alerts and the dashboard, with where it stands."""
    rules = yaml.safe_load((MONITORING / "aquatint.rules.yml").read_text())
    found = {r.get("alert") or r["record"]: [r["expr"]] for g in rules["groups"] for r in g["rules"]}
    dashboard = json.loads((MONITORING / "aquatint.dashboard.json").read_text())
    for panel in dashboard["panels"]:
        if panel["type"] != "row":
            found[f"panel {panel['title']}"] = [target["expr"] for target in panel["targets"]]
    found["variables"] = [v["definition"] for v in dashboard["templating"]["list"] if "definition" in v]
    return found


def test_every_metric_that_is_asked_for_is_told(new_server):
    server = new_server()
    with httpx.Client(base_url=server.url, timeout=30) as api:
        submit(api, "nap", "30s", inputs={"duration": "0s"})

        def told() -> dict[str, set[str]] | None:
            series: dict[str, set[str]] = {}
            for name, labels in SERIES.findall(api.get("/metrics").text):
                series.setdefault(name, set()).update(re.findall(r'(\w+)="', labels))
            # The report is counted just after whoever waits for it was told.
            return series if "aquatint_tasks_total" in series else None

        told_of = until("the attempt is counted", told)
    names = set()
    for place, expressions in asked().items():
        for expression in expressions:
            for name in METRIC.findall(expression):
                assert name in told_of, f"{place}: nobody tells `{name}`"
                names.add(re.sub("_(bucket|sum|count)$", "", name))
            # `by` keeps labels that are there.
            kept = {label.strip() for by in re.findall(r"by \(([^)]*)\)", expression) for label in by.split(",")}
            known = {"instance"}.union(*(told_of[n] for n in METRIC.findall(expression)))
            recorded = "aquatint:" in expression
            assert recorded or kept <= known, f"{place}: nobody tells {kept - known}"
    ours = {re.sub("_(bucket|sum|count)$", "", name) for name in told_of if name.startswith("aquatint_")}
    assert ours - names == set(), "told, and shown nowhere"


def test_every_alert_is_tried_and_says_what_to_do():
    rules = yaml.safe_load((MONITORING / "aquatint.rules.yml").read_text())
    alerts = {r["alert"]: r for g in rules["groups"] for r in g["rules"] if "alert" in r}
    tests = yaml.safe_load((MONITORING / "aquatint.rules.test.yml").read_text())["tests"]
    fired = {t["alertname"] for test in tests for t in test["alert_rule_test"] if t.get("exp_alerts")}
    silent = {t["alertname"] for t in tests[0]["alert_rule_test"] if not t.get("exp_alerts")}
    assert fired == silent == set(alerts)
    for name, alert in alerts.items():
        assert alert["labels"]["severity"] in ("critical", "warning"), name
        assert alert["annotations"]["summary"] and alert["annotations"]["description"], name
