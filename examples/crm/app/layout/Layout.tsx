import type { ReactNode } from "react";
import { Layout as AdminLayout } from "react-admin";
import { DemoProvider } from "../demo/DemoContext.tsx";
import { DemoPanel } from "../demo/DemoPanel.tsx";
import { StatusBar } from "../demo/StatusBar.tsx";
import { ImportDialog } from "../import/ImportDialog.tsx";
import { ImportProvider } from "../import/ImportFlow.tsx";
import { TopBar } from "./TopBar.tsx";

/** react-admin's layout without its side menu: this CRM has one resource. */
export function Layout({ children }: { children: ReactNode }) {
  return (
    <DemoProvider>
      <ImportProvider>
        <AdminLayout appBar={TopBar} sidebar={NoSidebar} sx={frame}>
          {children}
        </AdminLayout>
        <StatusBar />
        <ImportDialog />
        <DemoPanel />
      </ImportProvider>
    </DemoProvider>
  );
}

function NoSidebar() {
  return null;
}

const frame = {
  minWidth: 0,
  minHeight: "calc(100vh - 40px)",
  "& .RaLayout-appFrame": { mt: "56px !important" },
  "& .RaLayout-content": {
    width: "100%",
    maxWidth: 1240,
    minWidth: 0,
    mx: "auto",
    px: { xs: 1, sm: 3 },
    pt: 1,
    pb: 3,
  },
};
