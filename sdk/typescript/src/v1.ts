/** The generated messages, enums and services of supalove.v1. */

export * from "./gen/supalove/v1/audit_pb.js";
export * from "./gen/supalove/v1/auth_pb.js";
export * from "./gen/supalove/v1/authority_pb.js";
export * from "./gen/supalove/v1/cluster_pb.js";
export * from "./gen/supalove/v1/errors_pb.js";
export * from "./gen/supalove/v1/image_pb.js";
export * from "./gen/supalove/v1/invitation_pb.js";
export * from "./gen/supalove/v1/leftover_pb.js";
export * from "./gen/supalove/v1/operation_pb.js";
export * from "./gen/supalove/v1/organization_event_pb.js";
export * from "./gen/supalove/v1/organization_pb.js";
export * from "./gen/supalove/v1/personal_access_token_pb.js";
export * from "./gen/supalove/v1/plan_pb.js";
export * from "./gen/supalove/v1/platform_pb.js";
export * from "./gen/supalove/v1/project_pb.js";
export * from "./gen/supalove/v1/registry_pb.js";
export * from "./gen/supalove/v1/usage_pb.js";
export * from "./gen/supalove/v1/watch_pb.js";
