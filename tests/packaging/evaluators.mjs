// Finds what turns text into code in a script: `eval`, `Function` and its relatives, and timers that are given text.
import ts from "typescript-5";

/** Where a script evaluates text, or might: one line for each place. */
export function evaluators(text) {
  const source = ts.createSourceFile("script.js", text, ts.ScriptTarget.Latest, true, ts.ScriptKind.JS);
  const found = [];
  const visit = (node) => {
    const what = suspicion(node);
    if (what !== undefined) {
      const { line } = source.getLineAndCharacterOfPosition(node.getStart());
      found.push(`line ${line + 1}: ${what}`);
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
  return found;
}

function suspicion(node) {
  if (ts.isIdentifier(node) && EVALUATORS.has(node.text) && !isHarmless(node)) return node.text;
  if (!ts.isCallExpression(node) && !ts.isNewExpression(node)) return undefined;
  const called = ts.isPropertyAccessExpression(node.expression)
    ? node.expression.name.text
    : node.expression.getText();
  const [first] = node.arguments ?? [];
  if (TIMERS.has(called) && first !== undefined && ts.isStringLiteralLike(first))
    return `${called} with text`;
  // `(() => {}).constructor("text")` is Function by another name.
  return called === "constructor" && ts.isCallExpression(node) ? "a call of a constructor" : undefined;
}

/** Asking what something is: `x instanceof Function`, or a property of that name of something of ours. */
function isHarmless({ parent, text }) {
  const isTested =
    ts.isBinaryExpression(parent) && parent.operatorToken.kind === ts.SyntaxKind.InstanceOfKeyword;
  return isTested && text !== "eval";
}

const EVALUATORS = new Set(["eval", "Function", "AsyncFunction", "GeneratorFunction", "execScript"]);
const TIMERS = new Set(["setTimeout", "setInterval", "setImmediate"]);
