"""Prints what each project of an organization uses, and its busiest hour of the last week.

The variables are those of the README.
"""

import os
import time

from supalove import Client
from supalove.v1 import usage_pb2

with Client(os.environ["SUPALOVE_API"]) as client:
    client.sign_in(os.environ["SUPALOVE_EMAIL"], os.environ["SUPALOVE_PASSWORD"])
    request = usage_pb2.GetOrganizationUsageRequest(organization=os.environ["SUPALOVE_ORGANIZATION"])
    for project in client.usage.GetOrganizationUsage(request).projects:
        now = f"{project.current.cpu_millis} millicores" if project.HasField("current") else "unknown"
        month = project.month_to_date.cpu_seconds / 3600
        print(f"{project.name}: {now}, {month:.1f} core-hours in this month")

        series = usage_pb2.GetProjectUsageSeriesRequest(project_ref=project.project_ref)
        series.start_time.seconds = int(time.time()) - 7 * 24 * 3600
        series.step.seconds = 3600
        hours = client.usage.GetProjectUsageSeries(series).points
        if hours:
            busiest = max(hours, key=lambda hour: hour.cpu_seconds)
            print(f"  busiest hour: {busiest.time.ToJsonString()}, {busiest.cpu_seconds:.0f} s")
    client.sign_out()
