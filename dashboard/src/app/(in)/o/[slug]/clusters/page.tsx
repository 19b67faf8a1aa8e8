import type { Metadata } from "next";

export const metadata: Metadata = { title: "Clusters" };
export { PrivateClustersPage as default } from "@/views/private-clusters";
