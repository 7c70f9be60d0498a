"""An installation that looks after itself: schedules, health, alerts, and those who are told of ends."""

from __future__ import annotations

import datetime
import json
import queue

import httpx
import pytest

from client import ended, every, is_problem, is_refused, submit, until
from server import HERE
from test_mail import PASSWORD, USER, certificates, postbox  # noqa: F401
from test_webhooks import receiver  # noqa: F401

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYqr"
TAG = "aquatint:schedule:tick"


def connect(server):
    return httpx.Client(base_url=server.url, timeout=30)


@pytest.fixture
def house(new_server, folder):
    """A server over `house/`, with what a test adds to its configuration."""

    def make(config: str = "", **settings: str):
        file = folder / "house.toml"
        file.write_text(config)
        settings = {"AQUATINT_CONFIG": str(file), "AQUATINT_LEASE": "1s"} | settings
        return new_server(definitions=HERE / "house", queues="default:4,priority:2,maintenance:2", settings=settings, schedules=True)

    return make


def times(api) -> list[str]:
    """The due times of the runs that a schedule began."""
    runs = [r for r in every(api, "/api/v1/runs", tag=TAG, limit=500)]
    return sorted(api.get(f"/api/v1/runs/{r['id']}").json()["inputs"]["at"] for r in runs)


def test_a_scheduler_that_is_killed_again_and_again_begins_each_tick_once(house):
    server = house()
    for count in (2, 4, 6):
        with connect(server) as api:
            until("ticks", lambda api=api, count=count: len(times(api)) >= count or None)
        server.kill()
        server.start()
    with connect(server) as api:
        api.post("/api/v1/schedules/tick/pause").raise_for_status()
        told = api.get("/api/v1/schedules/tick").json()
        until("all turns", lambda: api.get("/api/v1/schedules/tick").json()["waiting"] == 0 or None)
        due = times(api)
        told = api.get("/api/v1/schedules/tick").json()
        for run in every(api, "/api/v1/runs", tag=TAG, limit=500):
            assert ended(api, run["id"])["state"] == "succeeded"
    moments = [datetime.datetime.fromisoformat(d) for d in due]
    assert len(set(due)) == len(due), "no tick twice"
    gaps = {(b - a).total_seconds() for a, b in zip(moments, moments[1:], strict=False)}
    assert gaps == {1.0}, "no tick left out, though nobody looked for a while"
    assert told["started"] == len(due) and told["missed"] == 0


def test_two_servers_over_one_database_begin_each_tick_once(house, new_server):
    first = house()
    second = house()
    second.kill()
    second.arguments[1] = first.arguments[1]
    second.start()
    with connect(first) as api:
        until("ticks", lambda: len(times(api)) >= 5 or None)
        api.post("/api/v1/schedules/tick/pause").raise_for_status()
        due = times(api)
        assert len(set(due)) == len(due)
        assert api.get("/api/v1/schedules/tick").json()["started"] == len(due)


def test_schedules_are_made_changed_asked_and_forgotten(house):
    with connect(house()) as api:
        # Those of definitions come a moment after the server listens.
        own = {"tick", "clean-up", "health-check"}
        until("the definitions' own", lambda: own <= {s["id"] for s in every(api, "/api/v1/schedules")} or None)
        given = {"workflow": "lane", "cron": "30 2 * * *", "zone": "Europe/Berlin", "overlap": "queue"}
        made = api.put("/api/v1/schedules/nightly", json=given)
        assert made.status_code == 201, made.text
        assert len(made.json()["upcoming"]) == 5 and made.json()["describes"] == "At 02:30."
        assert api.put("/api/v1/schedules/nightly", json=given | {"cron": "@every 90s", "zone": None}).status_code == 200
        run = api.post("/api/v1/schedules/nightly/trigger")
        assert run.status_code == 202 and run.headers["location"].endswith(run.json()["id"])
        assert api.post("/api/v1/schedules/nightly/pause").json()["due_at"] is None
        assert api.post("/api/v1/schedules/nightly/resume").json()["due_at"]
        late = api.post("/api/v1/schedules/nightly/backfill", json={"from": "2026-01-01", "until": "2026-01-02"})
        assert late.status_code == 202 and late.json()["waiting"] <= 1_000
        assert {s["id"] for s in every(api, "/api/v1/schedules")} == own | {"nightly"}
        assert api.delete("/api/v1/schedules/nightly").status_code == 204
        is_problem(api.get("/api/v1/schedules/nightly"), 404)
        is_problem(api.delete("/api/v1/schedules/tick"), 409)
        is_problem(api.put("/api/v1/schedules/tick", json=given), 409)


@pytest.mark.parametrize(
    ("given", "pointer", "said"),
    [
        ({"cron": "61 * * * *"}, "/cron", "no minute"),
        ({"cron": "0 0 30 2 *"}, "/cron", "never comes"),
        ({"cron": "0 3 * * *", "zone": "Berlin"}, "/zone", "Europe/Berlin"),
        ({"cron": "@every 90s", "zone": "UTC"}, "/zone", "needs no time zone"),
        ({"jitter_seconds": 100_000}, "/jitter_seconds", "86400"),
        ({"inputs": {"at": 7}}, "/inputs/at", ""),
        ({"inputs": {"at": "${{ run.nothing.there }}"}}, "/inputs", ""),
        ({"overlap": "sometimes"}, "/overlap", "skip"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused_with_its_place(house_server, given, pointer, said):
    with connect(house_server) as api:
        answer = api.put("/api/v1/schedules/odd", json={"workflow": "tick", "cron": "@daily"} | given)
        problem = is_refused(answer)
        assert problem["errors"][0]["pointer"] == pointer, problem
        assert said in json.dumps(problem), problem
        is_problem(api.get("/api/v1/schedules/odd"), 404)


@pytest.fixture(scope="module")
def house_server(new_server):
    return new_server(definitions=HERE / "house")


def test_health_is_looked_at_on_demand_and_its_history_kept(house):
    with connect(house("[health]\ndisk_warning = 99.9\ndisk_critical = 100.0\n")) as api:
        now = api.get("/api/v1/health").json()
        names = {check["name"] for check in now["checks"]}
        assert names == {"disk", "memory", "database", "clock", "workers", "queues", "schedules"}
        assert all(check["status"] in ("ok", "warning", "error") for check in now["checks"])
        run = api.post("/api/v1/maintenance/health-check").json()["id"]
        assert ended(api, run)["state"] == "succeeded"
        past = every(api, "/api/v1/health/history")
        assert [p["run"] for p in past] == [run] and past[0]["status"] in ("healthy", "degraded")
        is_problem(api.post("/api/v1/maintenance/anything"), 404)
        told = api.get("/metrics").text
        assert 'aquatint_health_check_status{check="disk"}' in told and "aquatint_alerts_firing" in told


def test_a_disk_that_is_nearly_full_is_made_room_on(house):
    # As full as this disk is, it is too full for these limits.
    with connect(house("[health]\ndisk_warning = 0.0\ndisk_critical = 0.0\n")) as api:
        run = ended(api, api.post("/api/v1/maintenance/health-check").json()["id"])
        assert run["outputs"]["status"] == "critical"
        below = [r for r in every(api, "/api/v1/runs", all="true") if r["parent"] == run["id"]]
        assert [r["workflow"] for r in below] == ["emergency-clean-up"]
        assert below[0]["state"] == "succeeded"


def test_cleaning_deletes_what_has_expired_and_nothing_else(house):
    server = house()
    with connect(server) as api:
        short = submit(api, "lane", retention="0s")["id"]
        kept = submit(api, "told", "10s")["id"]
        api.post(f"/api/v1/runs/{short}/cancel").raise_for_status()
        run = ended(api, api.post("/api/v1/maintenance/clean-up").json()["id"])
        assert run["outputs"]["records_deleted"] >= 1, run
        is_problem(api.get(f"/api/v1/runs/{short}"), 404)
        assert api.get(f"/api/v1/runs/{kept}").json()["state"] == "succeeded"
    assert server.command("check").returncode == 0


def test_an_alert_is_told_once_signed_and_is_told_to_be_over(house, receiver):  # noqa: F811
    config = f"""
[alerts]
webhook_url = "{receiver.url}"
webhook_secret = "{SECRET}"
look_every = "1s"
[[alerts.rules]]
name = "nobody-works"
when = "queue-age"
queue = "nobody"
over = "1s"
severity = "critical"
"""
    server = house(config, AQUATINT_API_ALLOW_PRIVATE_WEBHOOKS="true")
    with connect(server) as api:
        run = submit(api, "lane")["id"]
        told = receiver.next(SECRET)
        assert told["type"] == "alert.fired", told
        assert told["data"]["rule"] == "nobody-works" and told["data"]["severity"] == "critical"
        assert "queue nobody waits" in told["data"]["message"]
        [alert] = every(api, "/api/v1/alerts")
        assert alert["subject"] == "nobody" and alert["told"] == 1
        # Several looks later, nobody was told again.
        with pytest.raises(queue.Empty):
            receiver.messages.get(timeout=4)
        api.post(f"/api/v1/runs/{run}/cancel").raise_for_status()
        assert receiver.next(SECRET)["type"] == "alert.recovered"
        until("the end of it", lambda: every(api, "/api/v1/alerts") == [] or None)
        # In silence nobody is told.
        answer = api.put("/api/v1/alerts/silences/nobody-works", json={"lasts": "1h"})
        assert answer.status_code == 200, answer.text
        submit(api, "lane")
        until("the alert", lambda: every(api, "/api/v1/alerts") or None)
        with pytest.raises(queue.Empty):
            receiver.messages.get(timeout=4)
        api.put("/api/v1/alerts/silences/nobody-works", json={"lasts": "0s"}).raise_for_status()
        assert receiver.next(SECRET)["type"] == "alert.fired"
        is_problem(api.put("/api/v1/alerts/silences/nothing", json={"lasts": "1h"}), 404)
        is_refused(api.put("/api/v1/alerts/silences/all", json={"lasts": "soon"}))
    assert SECRET not in (server.folder / "log").read_text()
    assert SECRET not in server.command("doctor").stdout


def test_an_alert_and_an_end_are_told_by_mail(house, postbox):  # noqa: F811
    box = postbox("none")
    config = """
[alerts]
email = ["ops@example.org"]
look_every = "1s"
[[alerts.rules]]
name = "failures"
when = "failure-rate"
workflow = "told"
over = 0.4
at_least = 2
"""
    url = f"smtp://{USER}:{PASSWORD.replace('/', '%2F')}@localhost:{box.port}?tls=none"
    server = house(config, AQUATINT_SMTP_URL=url, AQUATINT_SMTP_FROM="aquatint <media@example.org>")
    with connect(server) as api:
        assert submit(api, "told", "10s")["state"] == "succeeded"
        bad = submit(api, "told", "10s", inputs={"fail": True}, notify=[{"email": ["me@example.org"]}])
        assert bad["state"] == "failed"
        until("three messages", lambda: len(box.messages) >= 3 or None)
        by_reader = {}
        for envelope, message in box.messages:
            by_reader.setdefault(envelope.rcpt_tos[0], []).append(str(message["subject"]))
        assert len(by_reader["me@example.org"]) == 1 and "failed" in by_reader["me@example.org"][0]
        own = [s for s in by_reader["ops@example.org"] if "told failed" in s]
        alerts = [s for s in by_reader["ops@example.org"] if "failures" in s]
        assert len(own) == 1, "the workflow's people hear of the failure, and not of the success"
        assert len(alerts) == 1 and "[aquatint] warning" in alerts[0]
        is_refused(api.post("/api/v1/runs", json={"workflow": "lane", "notify": [{"email": ["nobody"]}]}))
        is_refused(api.post("/api/v1/runs", json={"workflow": "lane", "notify": [{}]}))


def test_a_run_calls_the_webhook_it_names_and_nobody_elses(house, receiver):  # noqa: F811
    server = house(AQUATINT_API_ALLOW_PRIVATE_WEBHOOKS="true")
    with connect(server) as api:
        # One that would hear of nothing by itself.
        hook = api.post("/api/v1/webhooks", json={"url": receiver.url, "workflow": "nothing-of-this-name"}).json()
        run = submit(api, "told", "10s", notify=[{"webhook": hook["id"], "on": ["succeeded"]}])
        told = receiver.next(hook["secret"])
        assert told["type"] == "run.succeeded" and told["data"]["run"]["id"] == run["id"]
        submit(api, "told", "10s", inputs={"fail": True}, notify=[{"webhook": hook["id"], "on": ["succeeded"]}])
        with pytest.raises(queue.Empty):
            receiver.messages.get(timeout=2)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ('[alerts]\nwebhook_url = "https://example.org"', "webhook_secret"),
        ('[alerts]\nemail = ["nobody"]', "no e-mail address"),
        ('[[alerts.rules]]\nname = "a"\nwhen = "queue-age"', "`over` must be a duration"),
        ('[[alerts.rules]]\nname = "a"\nwhen = "failure-rate"\nover = 2', "share"),
        ('[[alerts.silences]]\ncron = "61 * * * *"\nfor = "1h"', "no minute"),
        ('[[alerts.silences]]\ncron = "@daily"\nfor = "1h"\nrules = ["odd"]', "no rule `odd`"),
        ("[health]\ndisk_warning = 101", "percentage"),
        ("[alerts]\nsilent = true", "no setting"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused_in_a_sentence(house_server, folder, config, said):
    file = folder / "odd.toml"
    file.write_text(config)
    refused = house_server.command("--config", str(file), "alerts")
    assert refused.returncode == 2 and said in refused.stderr, refused.stderr
    assert "panicked" not in refused.stderr
