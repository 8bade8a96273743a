"""Messages to people: a webhook and e-mail. Secrets are read from the environment here, and nowhere else.

A recipe holds `${oc.env:NAME}` and never the value. What is said of a failure names the host, since an address may be a
secret itself, and never what a server answered.
"""

import json
import os
import re
import smtplib
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from email.message import EmailMessage
from http.client import HTTPException
from typing import Any
from urllib.parse import urlsplit

from .errors import Temporary, UserError
from .settings import Email, Notify, Webhook

SECONDS = 20.0
_VARIABLE = re.compile(r"\$\{oc\.env:\s*(\w+)\s*\}")


def send(asked: Notify, message: Mapping[str, Any]) -> list[str]:
    """Tell everybody; returns whom, in words.

    Raises:
        UserError: a variable is not set or a server refuses; `Temporary` where it is away.
    """
    told = []
    if asked.webhook:
        told.append(post(asked.webhook, message))
    if asked.email:
        told.append(mail(asked.email, message))
    return told


def check(asked: Notify) -> None:
    """Raise a UserError unless every environment variable that the recipe names is set."""
    for part in (asked.webhook, asked.email):
        for key, value in part.model_dump().items() if part else ():
            for text in value if isinstance(value, list) else [value]:
                if isinstance(text, str):
                    filled(text, f"notify.{key}")


def filled(text: str, key: str) -> str:
    """A value with its environment variables in their places."""

    def value(found: re.Match[str]) -> str:
        if found[1] not in os.environ:
            raise UserError(f"{key} needs the environment variable {found[1]}, which is not set")
        return os.environ[found[1]]

    return _VARIABLE.sub(value, text)


def post(webhook: Webhook, message: Mapping[str, Any]) -> str:
    """Post the message as JSON; returns the host."""
    url = filled(webhook.url, "notify.webhook.url")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UserError("notify.webhook.url is no address that begins with http:// or https://")
    headers = {"Content-Type": "application/json", "User-Agent": "selfray"}
    if webhook.token:
        headers["Authorization"] = f"Bearer {filled(webhook.token, 'notify.webhook.token')}"
    request = urllib.request.Request(url, json.dumps(message).encode(), headers, method="POST")
    try:
        with _OPENER.open(request, timeout=SECONDS):
            return parts.hostname
    except urllib.error.HTTPError as error:
        with error:
            kind = Temporary if error.code == 429 or error.code >= 500 else UserError
            raise kind(f"the webhook at {parts.hostname} answered {error.code}; see notify.webhook") from None
    except (OSError, HTTPException) as error:
        reason = type(getattr(error, "reason", error)).__name__
        raise Temporary(f"the webhook at {parts.hostname} cannot be reached ({reason})") from None


class _Straight(urllib.request.HTTPRedirectHandler):
    """A redirected message would take the token along to another host, so none is followed."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Refuse."""
        return


_OPENER = urllib.request.build_opener(_Straight)


def mail(asked: Email, message: Mapping[str, Any]) -> str:
    """Send the message as text; returns to whom."""
    letter = EmailMessage()
    letter["From"], letter["To"] = asked.sender, ", ".join(asked.to)
    letter["Subject"] = str(message["text"]).split("\n", 1)[0]
    links = "\n".join(f"{name}: {link}" for name, link in message["links"].items())
    numbers = "\n".join(f"{name}: {value:.4f}" for name, value in message["probes"].items())
    letter.set_content("\n\n".join(part for part in (str(message["text"]), numbers, links) if part))
    user = filled(asked.user, "notify.email.user") if asked.user else ""
    password = filled(asked.password, "notify.email.password") if asked.password else ""
    trusted = ssl.create_default_context()
    try:
        if asked.security == "tls":
            server: smtplib.SMTP = smtplib.SMTP_SSL(asked.host, asked.port, timeout=SECONDS, context=trusted)
        else:
            server = smtplib.SMTP(asked.host, asked.port, timeout=SECONDS)
        with server:
            if asked.security == "starttls":
                server.starttls(context=trusted)
            if user:
                server.login(user, password)
            server.send_message(letter)
    except (smtplib.SMTPAuthenticationError, smtplib.SMTPNotSupportedError, smtplib.SMTPRecipientsRefused) as error:
        raise UserError(f"the mail server {asked.host} refused ({type(error).__name__}); see notify.email") from None
    except (OSError, smtplib.SMTPException) as error:
        raise Temporary(f"the mail server {asked.host} cannot be used ({type(error).__name__})") from None
    return ", ".join(asked.to)
