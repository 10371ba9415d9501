"""A mail server for tests: records commands and mails as lines of JSON on standard output."""

import json
import ssl
import sys

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult

mode, certificate, key = sys.argv[1], sys.argv[2], sys.argv[3]


def say(kind, **facts):
    print(json.dumps({"kind": kind, **facts}), flush=True)


def is_encrypted(server):
    return server.transport.get_extra_info("sslcontext") is not None


class Recorder:
    """Takes mails. A recipient that begins with 4 or 5 is refused once, or for good."""

    refused = set()

    async def handle_RCPT(self, server, session, envelope, address, options):
        say("rcpt", tls=is_encrypted(server), to=address)
        if address[0] == "4" and address not in self.refused:
            self.refused.add(address)
            return "451 later"
        if address[0] == "5":
            return "550 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        text = envelope.content.decode("utf-8", "replace")
        say("mail", tls=is_encrypted(server), to=",".join(envelope.rcpt_tos), text=text)
        return "250 OK"


def authenticate(server, session, envelope, mechanism, data):
    password = getattr(data, "password", b"").decode()
    say("auth", tls=is_encrypted(server), to=password)
    # Without handled=False it would not answer at all.
    return AuthResult(success=password.endswith("right"), handled=False)


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
options = dict(authenticator=authenticate, auth_required=mode not in ("none", "plain"), require_starttls=mode == "starttls")


class Server(Controller):
    def factory(self):
        tls = context if mode == "starttls" else None
        return SMTP(self.handler, tls_context=tls, auth_require_tls=mode == "starttls", **options)


controller = Server(Recorder(), hostname="127.0.0.1", port=int(sys.argv[4]), ssl_context=context if mode == "implicit" else None)
controller.start()
say("ready")
sys.stdin.read()
