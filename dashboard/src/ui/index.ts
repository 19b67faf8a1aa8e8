/** The parts. None of them fetches. */

export * from "./button";
export * from "./choice";
export * from "./choose";
export * from "./command";
export * from "./copy";
export { cx } from "./cx";
export * from "./dialog";
export * from "./field";
export * from "./heart";
export * from "./icon";
export * from "./link";
export * from "./menu";
export * from "./meter";
export * from "./notice";
export * from "./page";
export * from "./relative-time";
export * from "./sections";
export * from "./small";
export * from "./spark";
export * from "./state";
export * from "./states";
export * from "./table";
export * from "./toast";
export * from "./tooltip";
export * from "./virtual";
