"""Prints who was refused what in an organization, then saves its whole audit log as CSV.

For an owner or an administrator; the variables are those of the README.
"""

import os

from supalove import Client
from supalove.v1 import audit_pb2

with Client(os.environ["SUPALOVE_API"]) as client:
    client.sign_in(os.environ["SUPALOVE_EMAIL"], os.environ["SUPALOVE_PASSWORD"])
    organization = os.environ["SUPALOVE_ORGANIZATION"]

    request = audit_pb2.ListAuditEventsRequest(
        organization=organization,
        filter=audit_pb2.AuditFilter(outcome="PermissionDenied"),
    )
    while True:
        page = client.audit.ListAuditEvents(request)
        for event in page.events:
            print(f"{event.actor} was refused {event.method} on {event.target}")
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token

    # A stream that ends with an error is not complete: the loop raises it.
    export = audit_pb2.ExportAuditEventsRequest(
        organization=organization,
        format=audit_pb2.AUDIT_EXPORT_FORMAT_CSV,
    )
    with open("audit.csv", "wb") as file:
        for part in client.export_audit_events(export):
            file.write(part)
    client.sign_out()
