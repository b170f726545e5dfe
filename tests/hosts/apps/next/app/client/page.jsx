"use client";

import { useEffect, useState } from "react";
import { exercise } from "../../exercise.js";

export default function Page() {
  const [found, setFound] = useState(null);
  useEffect(() => {
    exercise(new URLSearchParams(location.search).get("api")).then(setFound);
  }, []);
  return <pre>{found === null ? "…" : JSON.stringify(found)}</pre>;
}
