import { expect, it } from "vitest";
import { Role } from "@/gen/supalove/v1/organization_pb";
import { givable, isLastOwner, mayChange } from "./roles";

it("gives roles as the server allows", () => {
  expect(givable(Role.OWNER)).toHaveLength(4);
  expect(givable(Role.ADMINISTRATOR)).not.toContain(Role.OWNER);
  expect(givable(Role.DEVELOPER)).toEqual([]);
  expect(givable(undefined)).toEqual([]);
});

it("lets only owners act on owners", () => {
  expect(mayChange(Role.OWNER, { role: Role.OWNER })).toBe(true);
  expect(mayChange(Role.ADMINISTRATOR, { role: Role.OWNER })).toBe(false);
  expect(mayChange(Role.ADMINISTRATOR, { role: Role.DEVELOPER })).toBe(true);
  expect(mayChange(Role.READ_ONLY, { role: Role.READ_ONLY })).toBe(false);
});

it("knows the last owner", () => {
  const members = [
    { userId: "usr_a", role: Role.OWNER },
    { userId: "usr_b", role: Role.DEVELOPER },
  ];
  expect(isLastOwner(members, "usr_a")).toBe(true);
  expect(isLastOwner(members, "usr_b")).toBe(false);
  expect(isLastOwner([...members, { userId: "usr_c", role: Role.OWNER }], "usr_a")).toBe(false);
});
