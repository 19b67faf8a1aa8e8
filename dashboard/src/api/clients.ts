/** A client per service, with the session of this browser. */

import { createClient } from "@connectrpc/connect";
import { AuditService } from "@/gen/supalove/v1/audit_pb";
import { AuthService } from "@/gen/supalove/v1/auth_pb";
import { AuthorityService } from "@/gen/supalove/v1/authority_pb";
import { ClusterService } from "@/gen/supalove/v1/cluster_pb";
import { ImageService } from "@/gen/supalove/v1/image_pb";
import { InvitationService } from "@/gen/supalove/v1/invitation_pb";
import { LeftoverService } from "@/gen/supalove/v1/leftover_pb";
import { OperationService } from "@/gen/supalove/v1/operation_pb";
import { OrganizationService } from "@/gen/supalove/v1/organization_pb";
import { PersonalAccessTokenService } from "@/gen/supalove/v1/personal_access_token_pb";
import { PlanService } from "@/gen/supalove/v1/plan_pb";
import { PlatformService } from "@/gen/supalove/v1/platform_pb";
import { ProjectService } from "@/gen/supalove/v1/project_pb";
import { UsageService } from "@/gen/supalove/v1/usage_pb";
import { bareTransport } from "./session";
import { transport } from "./transport";

// Marked, so that a page's bundle has only the services that it calls.
export const audit = /* @__PURE__ */ createClient(AuditService, transport);
export const auth = /* @__PURE__ */ createClient(AuthService, transport);
/** For who is not signed in. */
export const signedOutAuth = /* @__PURE__ */ createClient(AuthService, bareTransport);
export const signedOutInvitations = /* @__PURE__ */ createClient(InvitationService, bareTransport);
export const authorities = /* @__PURE__ */ createClient(AuthorityService, transport);
export const clusters = /* @__PURE__ */ createClient(ClusterService, transport);
export const images = /* @__PURE__ */ createClient(ImageService, transport);
export const invitations = /* @__PURE__ */ createClient(InvitationService, transport);
export const leftovers = /* @__PURE__ */ createClient(LeftoverService, transport);
export const operations = /* @__PURE__ */ createClient(OperationService, transport);
export const organizations = /* @__PURE__ */ createClient(OrganizationService, transport);
export const personalAccessTokens = /* @__PURE__ */ createClient(PersonalAccessTokenService, transport);
export const plans = /* @__PURE__ */ createClient(PlanService, transport);
export const platform = /* @__PURE__ */ createClient(PlatformService, transport);
export const projects = /* @__PURE__ */ createClient(ProjectService, transport);
export const usage = /* @__PURE__ */ createClient(UsageService, transport);
