import { useCallback, useState } from "react";
import { WAYS, type Way } from "../../import/sender.mjs";

/** How rows are sent; kept across a reload, so that an import goes on as it began. */
export function useWay(): [Way, (way: Way) => void] {
  const [way, setWay] = useState<Way>(
    () => WAYS.find((each) => each === localStorage.getItem(place)) ?? "one by one",
  );
  const choose = useCallback((chosen: Way) => {
    localStorage.setItem(place, chosen);
    setWay(chosen);
  }, []);
  return [way, choose];
}

const place = "crm.import-way";
