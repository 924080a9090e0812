// @ts-check
import path from 'node:path';
import { libRules, packageOwners } from './folder-rules.mjs';

/**
 * The part of lib/ that a path belongs to: its first folder, or the file's bare name at the top.
 * @param {string} relative path from lib/
 */
function partOf(relative) {
  const [first = ''] = relative.split(path.sep);
  return first.replace(/\.[jt]s$/, '');
}

/**
 * Why `part` may not import `specifier`, or null when it may.
 * @param {string} part @param {string} file absolute path @param {string} specifier @param {string} lib absolute path
 */
function objection(part, file, specifier, lib) {
  if (!specifier.startsWith('.')) {
    const owner = Object.entries(packageOwners).find(([name]) => name === specifier)?.[1];
    return owner === undefined || owner === part ? null : `only lib/${owner} may import ${specifier}`;
  }
  const relative = path.relative(lib, path.resolve(path.dirname(file), specifier));
  if (relative.startsWith('..')) return `lib/ may not import ${specifier}, which lies outside`;
  const target = partOf(relative);
  const allowed = libRules[part];
  if (allowed === undefined) return `${part} has no entry in scripts/folder-rules.mjs`;
  if (target === part || allowed.includes(target)) return null;
  return `lib/${part} may not import from lib/${target}; it may use: ${allowed.join(', ') || 'nothing'}`;
}

/**
 * Holds the arrows between the folders of lib/, for every form of import.
 * @type {import('eslint').Rule.RuleModule}
 */
export const folderImports = {
  meta: { type: 'problem', schema: [], messages: { forbidden: '{{ reason }}' } },
  create(context) {
    const lib = path.join(context.cwd, 'lib');
    const file = context.filename;
    const part = partOf(path.relative(lib, file));

    /** @param {import('estree').Node | null | undefined} source */
    function check(source) {
      if (source?.type !== 'Literal' || typeof source.value !== 'string') return;
      const reason = objection(part, file, source.value, lib);
      if (reason !== null) context.report({ node: source, messageId: 'forbidden', data: { reason } });
    }

    return {
      ImportDeclaration: (node) => check(node.source),
      ImportExpression: (node) => check(node.source),
      ExportNamedDeclaration: (node) => check(node.source),
      ExportAllDeclaration: (node) => check(node.source),
    };
  },
};
