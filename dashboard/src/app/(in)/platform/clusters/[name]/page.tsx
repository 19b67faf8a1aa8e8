import type { Metadata } from "next";

export const metadata: Metadata = { title: "Cluster" };
export { ClusterPage as default } from "@/views/cluster";
