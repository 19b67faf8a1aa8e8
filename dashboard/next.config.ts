import type { NextConfig } from "next";

const config: NextConfig = {
  // Files that the controller embeds and serves; `next dev` renders every path instead.
  output: process.env.NODE_ENV === "production" ? "export" : undefined,
  // `npm run dev` listens on one port for pages and API, and passes the pages on to Next.
  allowedDevOrigins: ["127.0.0.1", "localhost"],
  devIndicators: false,
  // `npm run check` has done it.
  typescript: { ignoreBuildErrors: true },
  reactStrictMode: true,
  poweredByHeader: false,
  images: { unoptimized: true },
};

export default config;
