import type { Metadata } from "next";

export const metadata: Metadata = { title: "Clusters" };
export { ClustersPage as default } from "@/views/clusters";
