"""A mail server of one test: aiosmtpd with TLS and authentication, which tells files what it took and asks files how to answer.

Arguments: folder, port, "tls", "starttls" or "stripped" (offers no TLS). In the folder:
  cert.pem, key.pem, password   what it works with; the user is "supalove"
  mails/<n>.json                each mail it took: recipient, headers, text and HTML part, when
  rcpt, data                    while there: how it answers a recipient or a content, "delay answer"; of the answer "-" only the delay
  most                          the most connections that were open at once
"""

import asyncio
import json
import os
import ssl
import sys
import time
from email import message_from_bytes, policy

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

folder, port, mode = sys.argv[1], int(sys.argv[2]), sys.argv[3]
count = opened = most = 0


def read(name):
    try:
        with open(os.path.join(folder, name), encoding="utf-8") as file:
            return file.read().strip()
    except FileNotFoundError:
        return None


def write(name, text):
    path = os.path.join(folder, name)
    with open(path + ".new", "w", encoding="utf-8") as file:
        file.write(text)
    os.rename(path + ".new", path)


async def told(step):
    """The answer that the test wants at this step, after its delay."""
    line = read(step)
    if line is None:
        return None
    delay, answer = line.split(" ", 1)
    await asyncio.sleep(float(delay))
    return None if answer == "-" else answer


class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        answer = await told("rcpt")
        if answer:
            return answer
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 ok"

    async def handle_DATA(self, server, session, envelope):
        global count
        answer = await told("data")
        if answer:
            return answer
        count += 1
        mail = message_from_bytes(envelope.content, policy=policy.default)
        part = lambda kind: mail.get_body((kind,)).get_content() if mail.get_body((kind,)) else ""
        write(
            f"mails/{time.time_ns()}-{count}.json",
            json.dumps(
                {
                    "recipients": envelope.rcpt_tos,
                    "sender": envelope.mail_from,
                    "user": session.auth_data.login.decode() if session.auth_data else "",
                    "tls": session.ssl is not None or mode == "tls",
                    "type": mail.get_content_type(),
                    "headers": [[name, str(value)] for name, value in mail.items()],
                    "text": part("plain"),
                    "html": part("html"),
                    "source": envelope.content.decode("ascii"),
                }
            ),
        )
        return f"250 2.0.0 Ok: queued as {count}"


def authenticate(server, session, envelope, mechanism, data):
    if not isinstance(data, LoginPassword):
        return AuthResult(success=False)
    good = data.login == b"supalove" and data.password.decode() == read("password")
    return AuthResult(success=good, handled=False, auth_data=data if good else None)


class Server(SMTP):
    """Counts connections."""

    counted = False

    def connection_made(self, transport):
        global opened, most
        super().connection_made(transport)
        if not self.counted:
            self.counted = True
            opened += 1
            if opened > most:
                most = opened
                write("most", str(most))

    def connection_lost(self, error):
        global opened
        if self.counted:
            self.counted = False
            opened -= 1
        super().connection_lost(error)


def server(context):
    secure = mode == "starttls"
    return Server(
        Handler(),
        hostname="mail.test",
        loop=asyncio.get_running_loop(),
        tls_context=context if secure else None,
        require_starttls=secure,
        auth_required=True,
        # It does not know of TLS below it.
        auth_require_tls=secure,
        authenticator=authenticate,
        timeout=60,
    )


async def main():
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(os.path.join(folder, "cert.pem"), os.path.join(folder, "key.pem"))
    listening = await asyncio.get_running_loop().create_server(
        lambda: server(context), "127.0.0.1", port, ssl=context if mode == "tls" else None
    )
    print("listening", flush=True)
    await listening.serve_forever()


asyncio.run(main())
