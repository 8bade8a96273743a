"""Messages to people, received by a real HTTP server and a real SMTP server; secrets stay in the environment."""

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

from selfray import notices
from selfray.errors import RecipeError, Refused, Temporary, UserError
from selfray.recipe import load, parse
from selfray.settings import Notify
from selfray.verbs import run

pytestmark = pytest.mark.filterwarnings("default")  # MLflow's and its libraries' own deprecations
SECRET, PASSWORD = "s3cret-token-0451", "p4ssword-1337"
MESSAGE = {"text": "selfray nightly: done\n91 %", "probes": {"knn": 0.91}, "links": {"run": "/runs/nightly"}}


@pytest.fixture
def webhook():
    """A server that keeps what it is sent; `answer` is the status that it gives."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            server.received.append((self.path, dict(self.headers), json.loads(body)))
            self.send_response(server.answers.pop(0) if server.answers else 204)
            if self.path.startswith("/moved"):
                self.send_header("Location", "/elsewhere")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    server.received, server.answers = [], []
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def free_port():
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return asked.getsockname()[1]


@pytest.fixture
def mailbox():
    """A mail server that keeps letters of those who know the password."""

    class Handler:
        async def handle_DATA(self, server, session, envelope):  # noqa: N802
            controller.letters.append(envelope)
            return "250 OK"

    def authenticate(server, session, envelope, mechanism, data):
        known = data.login == b"selfray" and data.password == PASSWORD.encode()
        return AuthResult(success=known, handled=known)  # not handled: the server answers 535

    known = {"authenticator": authenticate, "auth_require_tls": False, "auth_required": True}
    controller = Controller(Handler(), hostname="127.0.0.1", port=free_port(), **known)
    controller.letters = []
    controller.start()
    yield controller
    controller.stop()


def test_a_webhook_gets_the_message_and_the_token(webhook, monkeypatch):
    monkeypatch.setenv("HOOK_TOKEN", SECRET)
    asked = Notify.model_validate({"webhook": {"url": f"{webhook.url}/hook", "token": "${oc.env:HOOK_TOKEN}"}})
    assert notices.send(asked, MESSAGE) == ["127.0.0.1"]
    ((path, headers, body),) = webhook.received
    assert (path, body) == ("/hook", MESSAGE)
    assert headers["Authorization"] == f"Bearer {SECRET}"


@pytest.mark.parametrize(("answer", "kind"), [(500, Temporary), (429, Temporary), (403, UserError), (307, UserError)])
def test_an_answer_that_may_be_another_next_time_is_temporary(webhook, monkeypatch, answer, kind):
    monkeypatch.setenv("HOOK", f"{webhook.url}/moved/{SECRET}")
    webhook.answers = [answer]
    asked = Notify.model_validate({"webhook": {"url": "${oc.env:HOOK}"}})
    with pytest.raises(UserError, match=f"answered {answer}") as failed:
        notices.send(asked, MESSAGE)
    assert type(failed.value) is kind
    assert SECRET not in str(failed.value)
    assert len(webhook.received) == 1  # a redirection is not followed: the token would go along


def test_a_server_that_is_away_is_named_by_its_host_only(monkeypatch):
    monkeypatch.setenv("HOOK", f"http://127.0.0.1:9/{SECRET}")
    with pytest.raises(Temporary, match=r"the webhook at 127\.0\.0\.1 cannot be reached") as failed:
        notices.send(Notify.model_validate({"webhook": {"url": "${oc.env:HOOK}"}}), MESSAGE)
    assert SECRET not in str(failed.value)


def email(mailbox, **more):
    plain = {"to": ["team@example.org"], "sender": "selfray@example.org", "host": "127.0.0.1", "port": mailbox.port}
    return Notify.model_validate({"email": {**plain, "security": "none", "user": "selfray", **more}})


def test_a_letter_has_the_summary_and_the_links(mailbox, monkeypatch):
    monkeypatch.setenv("SMTP_PASSWORD", PASSWORD)
    told = notices.send(email(mailbox, password="${oc.env:SMTP_PASSWORD}"), MESSAGE)
    assert told == ["team@example.org"]
    (letter,) = mailbox.letters
    content = letter.content.decode()
    assert "Subject: selfray nightly: done" in content
    assert "run: /runs/nightly" in content
    assert "knn: 0.9100" in content
    assert PASSWORD not in content


def test_a_wrong_password_is_said_without_it(mailbox, monkeypatch):
    monkeypatch.setenv("SMTP_PASSWORD", SECRET)
    with pytest.raises(UserError, match="refused") as failed:
        notices.send(email(mailbox, password="${oc.env:SMTP_PASSWORD}"), MESSAGE)
    assert SECRET not in str(failed.value)


def test_a_server_without_encryption_gets_no_password_unless_asked_to(mailbox, monkeypatch):
    monkeypatch.setenv("SMTP_PASSWORD", PASSWORD)
    with pytest.raises(UserError, match="refused"):
        notices.send(email(mailbox, security="starttls", password="${oc.env:SMTP_PASSWORD}"), MESSAGE)
    assert not mailbox.letters


def test_a_secret_in_the_file_itself_is_refused(recipe):
    plain = recipe().plain() | {"notify": {"webhook": {"url": "https://example.org", "token": SECRET}}}
    with pytest.raises(RecipeError, match="must come from the environment") as refused:
        parse(plain)
    assert SECRET not in str(refused.value)


def test_secrets_reach_the_server_and_nothing_else(webhook, recipe, tmp_path, monkeypatch, capsys, caplog):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr("selfray.tracking.FLUSH_SECONDS", 0.05)
    monkeypatch.setenv("HOOK", f"{webhook.url}/{SECRET}")
    monkeypatch.setenv("HOOK_TOKEN", PASSWORD)
    told = {"webhook": {"url": "${oc.env:HOOK}", "token": "${oc.env:HOOK_TOKEN}"}}
    gated = {"evaluate": {"probes": {"knn": {}}}, "gate": {"require": ["knn > 0.999"]}, "notify": told}
    file = tmp_path / "told.yaml"
    from omegaconf import OmegaConf

    plain = recipe(steps=2).plain() | {"name": "told"} | gated
    OmegaConf.save(OmegaConf.create(plain), file)
    with pytest.raises(Refused):
        run(file)
    ((path, headers, body),) = webhook.received
    assert SECRET in path
    assert PASSWORD in headers["Authorization"]
    assert body["status"] == "refused"
    assert "asked was > 0.999" in body["reason"]
    with pytest.raises(Refused):
        run(file)  # the same refusal is not told again
    assert len(webhook.received) == 1
    webhook.answers = [403]
    with pytest.raises(Refused):
        run(file, first="gate")
    said = "".join(capsys.readouterr())
    assert "nobody was told" in said
    assert load(file).notify.webhook.token == "${oc.env:HOOK_TOKEN}"
    for written in (said, caplog.text):
        assert SECRET not in written
        assert PASSWORD not in written
    for path in tmp_path.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert SECRET.encode() not in content, path
            assert PASSWORD.encode() not in content, path


def test_a_variable_that_is_not_set_is_said_before_anything_runs(recipe, tmp_path, monkeypatch):
    monkeypatch.delenv("NO_SUCH_HOOK", raising=False)
    asked = parse(recipe().plain() | {"notify": {"webhook": {"url": "${oc.env:NO_SUCH_HOOK}"}}})
    with pytest.raises(UserError, match="needs the environment variable NO_SUCH_HOOK"):
        run(asked, out=tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()
