/**
 * A table with a column per upload, aligned for a terminal.
 *
 * @param {string[]} heads
 * @param {[label: string, ...cells: (string | number)[]][]} lines
 * @returns {string} ends without a line break
 */
export function table(heads, lines) {
  const rows = [["", ...heads], ...lines.map((line) => line.map(String))];
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0))) ?? [];
  return rows
    .map((row) =>
      row
        .map((cell, column) =>
          column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0),
        )
        .join("   ")
        .trimEnd(),
    )
    .join("\n");
}

/** @param {number} ms */
export function seconds(ms) {
  return (ms / 1000).toFixed(1);
}
