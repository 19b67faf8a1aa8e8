/**
 * The client: one session, a generated client per service, over gRPC-web.
 *
 * Every call carries the access token. When the server says that it has ended, the refresh token is traded once and the
 * call made again.
 */

import type { MessageInitShape } from "@bufbuild/protobuf";
import { Code, type Client as ServiceClient, createClient, type Interceptor } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";

import { explain } from "./errors.js";
import { AuditService } from "./gen/supalove/v1/audit_pb.js";
import { AuthService, type SessionTokens, type User } from "./gen/supalove/v1/auth_pb.js";
import { AuthorityService } from "./gen/supalove/v1/authority_pb.js";
import { ClusterService } from "./gen/supalove/v1/cluster_pb.js";
import { ImageService } from "./gen/supalove/v1/image_pb.js";
import { InvitationService } from "./gen/supalove/v1/invitation_pb.js";
import { LeftoverService } from "./gen/supalove/v1/leftover_pb.js";
import { OperationService } from "./gen/supalove/v1/operation_pb.js";
import { OrganizationService } from "./gen/supalove/v1/organization_pb.js";
import { PersonalAccessTokenService } from "./gen/supalove/v1/personal_access_token_pb.js";
import { PlanService } from "./gen/supalove/v1/plan_pb.js";
import { PlatformService } from "./gen/supalove/v1/platform_pb.js";
import { type CreateProjectRequestSchema, type CreateProjectResponse, ProjectService } from "./gen/supalove/v1/project_pb.js";
import { RegistryService } from "./gen/supalove/v1/registry_pb.js";
import { UsageService } from "./gen/supalove/v1/usage_pb.js";
import { type WatchResponse, WatchService } from "./gen/supalove/v1/watch_pb.js";
import { type Subscription, type WatchMessage, type WatchOptions, watch, watchMany } from "./watch.js";

/** Milliseconds that a call may take if its caller names no other time. */
const TIMEOUT = 30_000;
/** Milliseconds before the first, second … repetition of a create whose answer did not arrive. */
const BACK_OFF = [200, 600, 1_500];
/** Longest wait that a server's RetryInfo may ask for in a repetition. */
const MAX_RETRY_DELAY = 10_000;
/** The create may have been done, or may succeed now. A broken connection is Unknown here: fetch does not say why. */
const REPEATABLE = [Code.Unavailable, Code.Aborted, Code.DeadlineExceeded, Code.Unknown];

/** The tokens of a session. Secret. */
export interface Tokens {
  accessToken: string;
  refreshToken: string;
}

/** The fields of a new project. */
export type CreateProject = MessageInitShape<typeof CreateProjectRequestSchema>;

/** Supalove's API as one user sees it. */
export class Client {
  readonly audit: ServiceClient<typeof AuditService>;
  readonly auth: ServiceClient<typeof AuthService>;
  readonly authorities: ServiceClient<typeof AuthorityService>;
  readonly clusters: ServiceClient<typeof ClusterService>;
  readonly images: ServiceClient<typeof ImageService>;
  readonly invitations: ServiceClient<typeof InvitationService>;
  readonly leftovers: ServiceClient<typeof LeftoverService>;
  readonly operations: ServiceClient<typeof OperationService>;
  readonly organizations: ServiceClient<typeof OrganizationService>;
  readonly personalAccessTokens: ServiceClient<typeof PersonalAccessTokenService>;
  readonly plans: ServiceClient<typeof PlanService>;
  readonly platform: ServiceClient<typeof PlatformService>;
  readonly projects: ServiceClient<typeof ProjectService>;
  readonly registries: ServiceClient<typeof RegistryService>;
  readonly usage: ServiceClient<typeof UsageService>;
  readonly watches: ServiceClient<typeof WatchService>;

  /** Signs in, and trades refresh tokens: without the interceptor, which would trade one first, or wait for itself. */
  readonly #bare: ServiceClient<typeof AuthService>;
  #tokens: Tokens;
  #refreshing: Promise<boolean> | undefined;

  /** `address` is `http://host:port` or `https://host`; it connects at the first call. */
  constructor(address: string, tokens: Tokens = { accessToken: "", refreshToken: "" }) {
    const options = { baseUrl: address, defaultTimeoutMs: TIMEOUT };
    const transport = createGrpcWebTransport({ ...options, interceptors: [this.#session()] });
    this.#tokens = { ...tokens };
    this.#bare = createClient(AuthService, createGrpcWebTransport(options));
    this.audit = createClient(AuditService, transport);
    this.auth = createClient(AuthService, transport);
    this.authorities = createClient(AuthorityService, transport);
    this.clusters = createClient(ClusterService, transport);
    this.images = createClient(ImageService, transport);
    this.invitations = createClient(InvitationService, transport);
    this.leftovers = createClient(LeftoverService, transport);
    this.operations = createClient(OperationService, transport);
    this.organizations = createClient(OrganizationService, transport);
    this.personalAccessTokens = createClient(PersonalAccessTokenService, transport);
    this.plans = createClient(PlanService, transport);
    this.platform = createClient(PlatformService, transport);
    this.projects = createClient(ProjectService, transport);
    this.registries = createClient(RegistryService, transport);
    this.usage = createClient(UsageService, transport);
    this.watches = createClient(WatchService, transport);
  }

  /** The tokens as they are now, to be kept for a later client. */
  get tokens(): Tokens {
    return { ...this.#tokens };
  }

  /** Starts a session; calls carry it from now on. */
  async signIn(email: string, password: string): Promise<User> {
    const { user, tokens } = await this.#bare.signIn({ email, password });
    this.#keep(tokens);
    return user!;
  }

  /** Ends the session. */
  async signOut(): Promise<void> {
    await this.auth.signOut({});
    this.#keep(undefined);
  }

  /**
   * Makes a project, once: without a `requestId` it gets one, and a lost answer is asked for again. With one of your
   * own the same create can go on after a failure, or in another process.
   */
  async createProject(request: CreateProject): Promise<CreateProjectResponse> {
    const once = { ...request, requestId: request.requestId || randomUuid() };
    for (const pause of BACK_OFF) {
      try {
        return await this.projects.createProject(once);
      } catch (error) {
        const { code, retryAfterMs = 0 } = explain(error);
        if (!REPEATABLE.includes(code)) throw error;
        await sleep(Math.max(pause, Math.min(retryAfterMs, MAX_RETRY_DELAY)));
      }
    }
    return await this.projects.createProject(once);
  }

  /** The project, then each event once, over broken connections and restarts, until the project is removed. */
  watchProject(projectRef: string, options: WatchOptions = {}): AsyncGenerator<WatchMessage> {
    return watch(this, projectRef, options);
  }

  /**
   * Projects, organizations and nodes in one call: each as it is, then its changes, and each event once, over broken
   * connections and restarts, until all subscriptions have ended.
   */
  watch(subscriptions: Subscription[], { timeoutMs }: { timeoutMs?: number } = {}): AsyncGenerator<WatchResponse> {
    return watchMany(this, subscriptions, timeoutMs);
  }

  /** Trades the refresh token, unless that is under way or done. False if the session has ended. */
  async refresh(refused: string): Promise<boolean> {
    if (this.#tokens.accessToken !== refused) return this.#tokens.accessToken !== "";
    this.#refreshing ??= this.#trade().finally(() => (this.#refreshing = undefined));
    return await this.#refreshing;
  }

  async #trade(): Promise<boolean> {
    const { refreshToken } = this.#tokens;
    if (!refreshToken) return false;
    let next: SessionTokens | undefined;
    try {
      next = (await this.#bare.refresh({ refreshToken })).tokens;
    } catch (error) {
      if (explain(error).code !== Code.Unauthenticated) throw error;
    }
    // Else a sign-in or sign-out came in between, and its tokens stay.
    if (this.#tokens.refreshToken === refreshToken) this.#keep(next);
    return this.#tokens.accessToken !== "";
  }

  #keep(tokens: SessionTokens | undefined): void {
    this.#tokens = { accessToken: tokens?.accessToken ?? "", refreshToken: tokens?.refreshToken ?? "" };
  }

  #session(): Interceptor {
    return (next) => async (request) => {
      const token = this.#tokens.accessToken;
      sign(request.header, token);
      try {
        return await next(request);
      } catch (error) {
        // A stream's request can be sent once only; the watch opens another.
        if (request.stream || explain(error).code !== Code.Unauthenticated) throw error;
        if (!(await this.refresh(token))) throw error;
        sign(request.header, this.#tokens.accessToken);
        return await next(request);
      }
    };
  }
}

function sign(header: Headers, token: string): void {
  if (token) header.set("authorization", `Bearer ${token}`);
}

/** Version 4. A page without TLS has no `crypto.randomUUID`. */
function randomUuid(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6]! & 0x0f) | 0x40;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  const digits = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return digits.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

function sleep(milliseconds: number): Promise<void> {
  return new Promise((wake) => setTimeout(wake, milliseconds));
}
