"use client";

import { useEffect, useState } from "react";
import { signedOutAuth } from "@/api/clients";
import type { GetSignUpPolicyResponse } from "@/gen/supalove/v1/auth_pb";

/** Who may sign up, and whether the platform sends mail; undefined as long as it is not known. */
export function useSignUpPolicy(): GetSignUpPolicyResponse | undefined {
  const [policy, setPolicy] = useState<GetSignUpPolicyResponse>();
  useEffect(() => {
    const stop = new AbortController();
    signedOutAuth
      .getSignUpPolicy({}, { signal: stop.signal })
      .then(setPolicy)
      // The form offers less then, and says what is wrong when it is sent.
      .catch(() => {});
    return () => stop.abort();
  }, []);
  return policy;
}
