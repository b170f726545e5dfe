// What StrykerJS leaves alone.
import { declareValuePlugin, PluginKind } from "@stryker-mutator/api/plugin";

/**
 * The words of an error: the tests of the words themselves read them as a person does, and a misprint more or less in an
 * explanation decides nothing. A literal without a space in it is a name or a code, and stays in.
 */
export const messages = {
  shouldIgnore(node) {
    if (!isProse(node)) return undefined;
    const inside = node.findParent((one) => one.isNewExpression() || one.isFunction());
    return inside?.isNewExpression() && /Error$/.test(inside.node.callee.name ?? "")
      ? "the words of an error"
      : undefined;
  },
};

export const strykerPlugins = [declareValuePlugin(PluginKind.Ignore, "messages", messages)];

function isProse(node) {
  if (node.isStringLiteral()) return node.node.value.includes(" ");
  return node.isTemplateLiteral() && node.node.quasis.some(({ value }) => value.raw.includes(" "));
}
