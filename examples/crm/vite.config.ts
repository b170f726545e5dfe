import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

export default defineConfig({
  plugins: [react()],
  build: {
    outDir: "build",
    // react-admin alone is larger than the default of 500 kB.
    chunkSizeWarningLimit: 1800,
  },
});
