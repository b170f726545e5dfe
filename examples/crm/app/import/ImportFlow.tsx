import { createContext, type ReactNode, useCallback, useContext, useEffect, useMemo, useState } from "react";
import { useNotify, useRefresh } from "react-admin";
import {
  type ImportJob,
  type ImportProgress,
  type ImportReport,
  startImport,
} from "../../import/importer.mjs";
import { useConnection } from "../ConnectionContext.tsx";
import { count, counted } from "../words.ts";
import { type CheckedFile, checkFile, UnusableFile } from "./checkFile.ts";

/** Where the visitor is on the way from a file to a report. */
export type Stage =
  | { name: "choose"; problem: string | null }
  | { name: "reading"; fileName: string }
  | { name: "check"; file: CheckedFile }
  | { name: "running"; file: CheckedFile; job: ImportJob; progress: ImportProgress; history: Sample[] }
  | { name: "report"; file: CheckedFile; report: ImportReport; cancelled: boolean };

/** How far the import was at one moment, for the curve of its speed. */
export interface Sample {
  at: number;
  processed: number;
  /** Refusals met since the import began. */
  throttled: number;
}

export interface ImportFlow {
  stage: Stage;
  /** The import lives on when its dialog is closed; it is shown in the top bar then. */
  isOpen: boolean;
  open(): void;
  close(): void;
  choose(file: File): Promise<void>;
  start(file: CheckedFile): void;
  another(): void;
}

const ImportContext = createContext<ImportFlow | null>(null);

export function useImportFlow(): ImportFlow {
  const flow = useContext(ImportContext);
  if (flow === null) throw new Error("useImportFlow needs an ImportProvider above it; see Layout.tsx.");
  return flow;
}

/** Keeps the one import of this tab above the pages, so that it survives walking around in the CRM. */
export function ImportProvider({ children }: { children: ReactNode }) {
  const { importProvider, service } = useConnection();
  const refresh = useRefresh();
  const [stage, setStage] = useState<Stage>(fresh);
  const [isOpen, setOpen] = useState(false);

  const choose = useCallback(async (file: File) => {
    setStage({ name: "reading", fileName: file.name });
    try {
      setStage({ name: "check", file: await checkFile(file) });
    } catch (error) {
      setStage({ name: "choose", problem: problemWith(file, error) });
    }
  }, []);

  const start = useCallback(
    (file: CheckedFile) => {
      const job = startImport({
        rows: file.rows,
        dataProvider: importProvider,
        service,
        lines: file.lines,
        origin,
        onProgress: (progress) => setStage((stage) => withProgress(stage, progress)),
      });
      setStage({ name: "running", file, job, progress: job.progress, history: [] });
      void job.done.then((report) => {
        setStage({ name: "report", file, report, cancelled: job.progress.state === "cancelled" });
        refresh();
      });
    },
    [importProvider, service, refresh],
  );

  useNoteAtTheEnd(stage, isOpen);
  useSampling(stage.name === "running", setStage);
  useWarningBeforeUnload(stage.name === "running");

  const flow = useMemo<ImportFlow>(
    () => ({
      stage,
      isOpen,
      open: () => setOpen(true),
      close: () => {
        setOpen(false);
        setStage((stage) => (stage.name === "running" ? stage : fresh));
      },
      choose,
      start,
      another: () => setStage(fresh),
    }),
    [stage, isOpen, choose, start],
  );
  return <ImportContext.Provider value={flow}>{children}</ImportContext.Provider>;
}

/** Says in passing how an import ended whose dialog was closed. */
function useNoteAtTheEnd(stage: Stage, isOpen: boolean): void {
  const notify = useNotify();
  const report = stage.name === "report" && !isOpen ? stage.report : null;
  useEffect(() => {
    if (report === null) return;
    const trouble = report.failed + report.unknown;
    notify(`Import ended: ${count(report.imported)} of ${counted(report.total, "row")} imported`, {
      type: trouble === 0 ? "success" : "warning",
    });
  }, [report, notify]);
}

/** Asks before the tab is closed: rows in flight would end without anybody to read their answer. */
function useWarningBeforeUnload(active: boolean): void {
  useEffect(() => {
    if (!active) return;
    const warn = (event: BeforeUnloadEvent) => event.preventDefault();
    window.addEventListener("beforeunload", warn);
    return () => window.removeEventListener("beforeunload", warn);
  }, [active]);
}

/** Takes a sample twice a second, also while the import is paused and says nothing by itself. */
function useSampling(active: boolean, setStage: (update: (stage: Stage) => Stage) => void): void {
  useEffect(() => {
    if (!active) return;
    const timer = setInterval(() => setStage(withSample), sampleEveryMs);
    return () => clearInterval(timer);
  }, [active, setStage]);
}

function withProgress(stage: Stage, progress: ImportProgress): Stage {
  return stage.name === "running" ? { ...stage, progress } : stage;
}

function withSample(stage: Stage): Stage {
  if (stage.name !== "running") return stage;
  const { progress } = stage.job;
  const sample = { at: Date.now(), processed: progress.processed, throttled: progress.throttled };
  return { ...stage, progress, history: [...stage.history, sample].slice(-samplesKept) };
}

function problemWith(file: File, error: unknown): string {
  if (error instanceof UnusableFile) return error.message;
  console.error(error);
  return `${file.name} could not be read. Save it as CSV (UTF-8) and try again.`;
}

const fresh: Stage = { name: "choose", problem: null };
/** What the rows' keys belong to. It must stay the same for ever, or people who are there are not recognised. */
const origin = "tidegate-crm";
const sampleEveryMs = 500;
/** One minute of the curve. */
const samplesKept = 120;
