"""Mail is sent by a real server's rules: logged in, over TLS, again after a while, or never."""

from __future__ import annotations

import asyncio
import base64
import email
import email.policy
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path

import httpx
import pytest
import trustme
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session

from client import submit

USER, PASSWORD = "media", "c0rrect-horse/battery"
FROM = "Aquatint <media@example.org>"

# Behind TLS from the first byte on, it does not see that there is TLS.
pytestmark = pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")


@dataclass
class Postbox:
    """A mail server on a port of its own. `answers` are given to what comes, before it is taken."""

    certificates: trustme.CA
    mode: str  # tls, starttls or none
    answers: dict[str, list[str]] = field(default_factory=lambda: {"RCPT": [], "DATA": []})
    messages: list[tuple[Envelope, EmailMessage]] = field(default_factory=list)
    logins: list[bool] = field(default_factory=list)
    port: int = 0

    def __post_init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        ready = threading.Event()
        self.thread = threading.Thread(target=self._serve, args=(ready,), daemon=True)
        self.thread.start()
        assert ready.wait(10), "the mail server does not begin"

    def _serve(self, ready: threading.Event) -> None:
        asyncio.set_event_loop(self.loop)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.certificates.issue_cert("localhost").configure_cert(context)
        is_starttls = self.mode == "starttls"

        def protocol() -> SMTP:
            return SMTP(
                self,
                loop=self.loop,
                hostname="mail.example.org",
                enable_SMTPUTF8=True,
                tls_context=context if is_starttls else None,
                require_starttls=is_starttls,
                auth_require_tls=is_starttls,
                auth_required=True,
                authenticator=self.authenticate,
            )

        serving = self.loop.create_server(protocol, "127.0.0.1", 0, ssl=context if self.mode == "tls" else None)
        self.server = self.loop.run_until_complete(serving)
        self.port = self.server.sockets[0].getsockname()[1]
        ready.set()
        self.loop.run_forever()

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.server.close()
        self.loop.close()

    def authenticate(self, server, session, envelope, mechanism, data) -> AuthResult:
        known = (data.login, data.password) == (USER.encode(), PASSWORD.encode())
        self.logins.append(known)
        return AuthResult(success=known, handled=False)

    async def handle_RCPT(self, server: SMTP, session: Session, envelope: Envelope, address: str, _: list) -> str:
        if self.answers["RCPT"]:
            return self.answers["RCPT"].pop(0)
        envelope.rcpt_tos.append(address)
        return "250 well"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        if self.answers["DATA"]:
            return self.answers["DATA"].pop(0)
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        self.messages.append((envelope, message))
        return "250 2.0.0 queued as 17"


@pytest.fixture(scope="module")
def certificates() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def postbox(certificates):
    boxes: list[Postbox] = []

    def make(mode: str = "starttls") -> Postbox:
        boxes.append(Postbox(certificates, mode))
        return boxes[-1]

    yield make
    for box in boxes:
        box.close()


@pytest.fixture
def sender(new_server: Callable, certificates: trustme.CA, folder: Path):
    """A server that sends by a postbox; at the end, its log says nothing of the password."""
    begun = []

    def make(box: Postbox, password: str = PASSWORD, trusted: bool = True, **more: str):
        scheme, query = {"tls": ("smtps", ""), "starttls": ("smtp", ""), "none": ("smtp", "?tls=none")}[box.mode]
        roots = folder / "mail-roots.pem"
        (certificates if trusted else trustme.CA()).cert_pem.write_to_path(str(roots))
        url = f"{scheme}://{USER}:{password.replace('/', '%2F')}@localhost:{box.port}{query}"
        settings = {
            "AQUATINT_SMTP_URL": url,
            "AQUATINT_SMTP_FROM": FROM,
            "SSL_CERT_FILE": str(roots),
            "AQUATINT_LOG": "trace",
        }
        server = new_server(settings=settings | more, queues="priority:2,default:2")
        begun.append((server, password))
        return server

    yield make
    for server, password in begun:
        said = (server.folder / "log").read_text() + server.command("doctor").stdout
        plain = base64.b64encode(f"\0{USER}\0{password}".encode()).decode()
        for secret in (password, password.replace("/", "%2F"), plain, base64.b64encode(password.encode()).decode()):
            assert secret not in said
        server.kill()


def connect(server) -> httpx.Client:
    return httpx.Client(base_url=server.url, timeout=60)


def send(server, **inputs) -> dict:
    inputs = {"to": ["someone@example.org"], "subject": "It is done", "text": "All of it.", **inputs}
    with connect(server) as api:
        return submit(api, "email-delivery", "60s", inputs=inputs)


def failure(run: dict) -> dict:
    """Why a run failed."""
    assert run["state"] == "failed", run
    assert PASSWORD not in str(run)
    return run["failure"]


@pytest.mark.parametrize("mode", ["tls", "starttls", "none"])
def test_a_message_arrives_as_it_was_meant(postbox, sender, mode):
    box = postbox(mode)
    run = send(
        sender(box),
        to=["someone@example.org", "else@example.com"],
        subject="Fertig: schöne Bilder",
        text="Grüße\n.\nfrom here",
        html="<p>Grüße",
        message="order-17",
    )
    assert run["state"] == "succeeded", run
    assert run["outputs"] == {
        "message_id": "<order-17@example.org>",
        "recipients": 2,
        "answer": "250 2.0.0 queued as 17",
    }
    [(envelope, message)] = box.messages
    assert box.logins == [True]
    assert envelope.mail_from == "media@example.org"
    assert envelope.rcpt_tos == ["someone@example.org", "else@example.com"]
    assert message["from"] == FROM and message["to"] == "someone@example.org, else@example.com"
    assert message["subject"] == "Fertig: schöne Bilder"
    assert message["message-id"] == "<order-17@example.org>"
    assert message["auto-submitted"] == "auto-generated"
    assert message.get_body(("plain",)).get_content().splitlines() == ["Grüße", ".", "from here"]
    assert message.get_body(("html",)).get_content().rstrip() == "<p>Grüße"


def test_what_is_busy_is_asked_again_with_the_same_message(postbox, sender):
    box = postbox()
    box.answers["DATA"].append("451 4.7.1 grey list, come back")
    run = send(sender(box))
    assert run["state"] == "succeeded", run
    [(_, message)] = box.messages
    assert box.logins == [True, True]
    assert message["message-id"] == run["outputs"]["message_id"] == f"<{run['id']}.send@example.org>"


def test_what_is_refused_is_not_asked_again(postbox, sender):
    box = postbox()
    server = sender(box)
    box.answers["RCPT"] += ["250 well", "550 5.1.1 nobody of that name"]
    error = failure(send(server, to=["a@example.org", "b@example.org"]))
    assert error["class"] == "refused" and "b@example.org: 550 5.1.1 nobody" in error["message"]
    assert box.messages == [] and len(box.logins) == 1


def test_a_wrong_password_is_told_and_not_repeated(postbox, sender):
    box = postbox()
    error = failure(send(sender(box, password="n0t-the-word/at-all")))
    assert error["class"] == "credentials" and "535" in error["message"]
    assert "n0t-the-word" not in str(error)
    assert box.logins == [False] and box.messages == []


@pytest.mark.parametrize(
    "inputs",
    [
        {"subject": "It is done\r\nBcc: all@example.org"},
        {"subject": "It is done\nX-Evil: yes"},
        {"to": ["a@example.org>\r\nRCPT TO:<b@example.org"]},
        {"to": ["a@example.org,b@example.org"]},
        {"message": "17@example.org>\r\nBcc: <all"},
    ],
)
def test_nobody_writes_headers_or_commands(postbox, sender, inputs):
    box = postbox()
    assert failure(send(sender(box), **inputs))["class"] == "invalid_input"
    assert box.messages == [] and box.logins == []


def test_a_text_that_looks_like_the_end_of_a_message_is_text(postbox, sender):
    box = postbox()
    text = "one\r\n.\r\nMAIL FROM:<evil@example.org>\r\n\n.\n\r.\rtwo"
    assert send(sender(box), text=text)["state"] == "succeeded"
    [(_, message)] = box.messages
    assert "MAIL FROM:<evil@example.org>" in message.get_content()


def test_strangers_are_not_written_to(postbox, sender):
    box = postbox()
    server = sender(box, AQUATINT_SMTP_ALLOWED_RECIPIENTS="example.org,boss@example.com")
    assert send(server, to=["a@mail.example.org", "boss@example.com"])["state"] == "succeeded"
    for stranger in ["boss@example.net", "a@example.com", "a@evilexample.org", "a%example.net@example.org"]:
        assert failure(send(server, to=["a@example.org", stranger]))["class"] == "not_allowed"
    assert len(box.messages) == 1


def test_a_server_that_nobody_vouches_for_gets_no_password(postbox, sender):
    box = postbox("tls")
    server = sender(box, trusted=False)
    looked = server.command("doctor")
    assert looked.returncode == 1 and "certificate" in looked.stdout, looked.stdout
    assert box.logins == []


def test_doctor_logs_in_and_sends_nothing(postbox, sender):
    box = postbox()
    looked = sender(box).command("doctor")
    assert f"the mail server localhost:{box.port} answers; may write to everybody" in looked.stdout, looked.stdout
    assert looked.returncode == 0 and box.logins == [True] and box.messages == []


def test_without_a_mail_server_it_is_said_what_to_configure(new_server):
    server = new_server(queues="priority:1,default:1")
    error = failure(send(server))
    assert error["class"] == "not_configured" and "AQUATINT_SMTP_URL" in error["message"]
    assert "AQUATINT_SMTP_URL" in server.command("doctor").stdout
