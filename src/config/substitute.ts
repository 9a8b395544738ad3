/** A text with its `${VAR}`s replaced, and the names of those variables; or what is wrong with it. */
export type Substitution =
  | { readonly kind: 'replaced'; readonly text: string; readonly variables: readonly string[] }
  | { readonly kind: 'wrong'; readonly wrong: string };

const reference = /^([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?$/s;

/**
 * Replaces `${VAR}` and `${VAR:-x}` in a text of the file. As in a shell, x stands in where VAR is unset or empty; a
 * VAR that is unset, without x, is an error.
 */
export function substitute(text: string, environment: Readonly<Record<string, string | undefined>>): Substitution {
  const variables: string[] = [];
  let result = '';
  let from = 0;
  for (let start = text.indexOf('${'); start !== -1; start = text.indexOf('${', from)) {
    const end = text.indexOf('}', start);
    const [, name, fallback] = (end === -1 ? null : reference.exec(text.slice(start + 2, end))) ?? [];
    if (name === undefined) {
      return { kind: 'wrong', wrong: `has a $\{ that begins no variable; write $\{VAR} or $\{VAR:-default}` };
    }
    const value = fallback === undefined ? environment[name] : environment[name] || fallback;
    if (value === undefined) {
      return { kind: 'wrong', wrong: `needs ${name}, which is not set; set it, or write \${${name}:-default}` };
    }
    variables.push(name);
    result += text.slice(from, start) + value;
    from = end + 1;
  }
  return { kind: 'replaced', text: result + text.slice(from), variables };
}
