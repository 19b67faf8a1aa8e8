"""Prints what an organization may use, how much of it is in use, and what other plans there are.

For any member; the variables are those of the README.
"""

import os

from supalove import Client
from supalove.v1 import plan_pb2

with Client(os.environ["SUPALOVE_API"]) as client:
    client.sign_in(os.environ["SUPALOVE_EMAIL"], os.environ["SUPALOVE_PASSWORD"])

    request = plan_pb2.GetEntitlementsRequest(organization=os.environ["SUPALOVE_ORGANIZATION"])
    held = client.plans.GetEntitlements(request).entitlements
    print("the plan is", held.plan.name)
    for one in held.entitlements:
        kind = one.limit.WhichOneof("kind")
        limit = " ".join(one.limit.sizes.names) if kind == "sizes" else getattr(one.limit, kind)
        # What the platform does not measure yet has no use.
        used = f", {one.used} in use" if one.HasField("used") else ""
        print(f"{plan_pb2.Entitlement.Name(one.entitlement)}: {limit}{used}")
    for plan in client.plans.ListPlans(plan_pb2.ListPlansRequest()).plans:
        print(f"{plan.name} costs {plan.price_cents} cents a month")
    client.sign_out()
