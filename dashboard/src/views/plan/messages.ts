export const messages = {
  title: "Plan",
  failed: "The plan could not be loaded",
  since: (reason: string) => (reason ? `Why this plan: ${reason}` : ""),
  description: (plan: string) => `${plan}. Limits count for the whole organization, sizes for each project.`,
  limits: "Included in your plan",
  override: (reason: string) => `Your own limit: ${reason}`,
  next: (plan: string) => `What ${plan} gives`,
  nextWhat: "The operator of the platform assigns plans.",
  limit: "Limit",
  price: (price: string) => `${price} a month`,
  free: "No charge",
  sizeOver: "At the limit, a database is read-only until there is room again.",
  sizeTold: "At the limit, members are told. Nothing is stopped.",
};

/** Hundredths of the currency in which the operator bills: 2500 → "25.00". */
export const price = (cents: bigint): string =>
  cents === 0n ? messages.free : messages.price((Number(cents) / 100).toFixed(2));
