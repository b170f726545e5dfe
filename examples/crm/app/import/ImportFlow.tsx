import { createContext, type ReactNode, useCallback, useContext, useEffect, useMemo, useState } from "react";
import { useNotify, useRefresh } from "react-admin";
import { CsvError } from "tidegate/csv";
import { ImportError, type ImportProgress } from "tidegate/import";
import type { ContactFile } from "../../import/file.mjs";
import { type ContactJob, type ContactReport, contactImport } from "../../import/job.mjs";
import { contactSender, type Way } from "../../import/sender.mjs";
import { useConnection } from "../ConnectionContext.tsx";
import { count, counted } from "../words.ts";
import { type CheckedFile, checkFile } from "./checkFile.ts";
import { doneOf } from "./ProgressBar.tsx";
import { useWay } from "./useWay.ts";

/** Where the visitor is on the way from a file to a report. */
export type Stage =
  | { name: "choose"; problem: string | null }
  | { name: "reading"; fileName: string }
  | { name: "check"; file: CheckedFile }
  | { name: "running"; file: CheckedFile; job: ContactJob; progress: ImportProgress; history: Sample[] }
  | { name: "report"; file: CheckedFile; job: ContactJob; report: ContactReport; history: Sample[] };

/** How far the import was at one moment, for the curve of its speed. */
export interface Sample {
  at: number;
  /** Rows that had their outcome. */
  done: number;
  /** Refusals met since the import began. */
  throttled: number;
}

export interface ImportFlow {
  stage: Stage;
  /** The import lives on when its dialog is closed; it is shown in the top bar then. */
  isOpen: boolean;
  /** How rows are sent, from the next import on. */
  way: Way;
  setWay(way: Way): void;
  open(): void;
  close(): void;
  choose(file: File): Promise<void>;
  /** Imports the file, or what is left of it. */
  start(file: CheckedFile): void;
  /** Sends what failed once more. */
  retry(file: CheckedFile, job: ContactJob): void;
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
  const notify = useNotify();
  const refresh = useRefresh();
  const [stage, setStage] = useState<Stage>(fresh);
  const [isOpen, setOpen] = useState(false);
  const [way, setWay] = useWay();
  const jobFor = useJobs();

  const choose = useCallback(
    async (file: File) => {
      setStage({ name: "reading", fileName: file.name });
      try {
        setStage({ name: "check", file: await checkFile(file, way, jobFor) });
      } catch (error) {
        setStage({ name: "choose", problem: problemWith(file.name, error) });
      }
    },
    [way, jobFor],
  );

  const run = useCallback(
    async (file: CheckedFile, job: ContactJob) => {
      job.on("progress", (progress) => setStage((stage) => withProgress(stage, progress)));
      job.on("notice", ({ message }) => notify(message, { type: "info" }));
      const reported = job.start();
      setStage({ name: "running", file, job, progress: job.progress, history: [] });
      try {
        const report = await reported;
        setStage((stage) => ({ name: "report", file, job, report, history: historyOf(stage) }));
      } catch (error) {
        setStage({ name: "choose", problem: problemWith(file.name, error) });
      }
      refresh();
    },
    [notify, refresh],
  );

  const start = useCallback(
    (file: CheckedFile) => {
      // The one that made the plan, unless it was used, or rows are to be sent in another way now.
      const isReady = file.way === way && !used.has(file.job);
      const job = isReady ? file.job : jobFor(file.name, file.rows, way);
      used.add(job);
      void run(file, job);
    },
    [way, jobFor, run],
  );

  useNoteAtTheEnd(stage, isOpen);
  useSampling(stage.name === "running", setStage);
  useWarningBeforeUnload(stage.name === "running");

  const flow = useMemo<ImportFlow>(
    () => ({
      stage,
      isOpen,
      way,
      setWay,
      open: () => setOpen(true),
      close: () => {
        setOpen(false);
        setStage((stage) => (stage.name === "running" ? stage : fresh));
      },
      choose,
      start,
      retry: (file, job) => void run(file, job.retryFailed()),
      another: () => setStage(fresh),
    }),
    [stage, isOpen, way, setWay, choose, start, run],
  );
  return <ImportContext.Provider value={flow}>{children}</ImportContext.Provider>;
}

/** An import of a file through this CRM's connection. */
function useJobs(): (name: string, rows: ContactFile, way: Way) => ContactJob {
  const { importProvider, supabase, service } = useConnection();
  return useCallback(
    (name, rows, way) =>
      contactImport(rows, {
        name,
        send: contactSender(way, { dataProvider: importProvider, supabase }),
        service,
        keepAwake: true,
        // The page asks by itself, also while the import waits.
        guardUnload: false,
      }),
    [importProvider, supabase, service],
  );
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

/** Asks before the tab is closed. Whoever closes it all the same chooses the file again and goes on. */
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
  const sample = { at: Date.now(), done: doneOf(progress), throttled: progress.throttled };
  return { ...stage, progress, history: thinned([...stage.history, sample]) };
}

/** Samples hold sums, so that one between two others can go, and a long import is shown as a whole. */
function thinned(history: Sample[]): Sample[] {
  return history.length <= samplesKept ? history : history.filter((_, index) => index % 2 === 0);
}

function historyOf(stage: Stage): Sample[] {
  return stage.name === "running" ? stage.history : [];
}

/** What is wrong with a file is said by whoever found it. */
function problemWith(fileName: string, error: unknown): string {
  if (error instanceof CsvError || error instanceof ImportError) return error.message;
  console.error(error);
  return `${fileName} could not be read. Save it as CSV (UTF-8) and try again.`;
}

const fresh: Stage = { name: "choose", problem: null };
const sampleEveryMs = 500;
const samplesKept = 240;
/** An import can be started once. */
const used = new WeakSet<ContactJob>();
