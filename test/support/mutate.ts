/** Seeded mutations of JSON, as a careless or hostile writer would make them. */
import type { Random } from './random.js';

const hostileValues: readonly unknown[] = [
  null,
  true,
  false,
  0,
  -1,
  1,
  0.5,
  1e-320,
  1e308,
  2 ** 31 - 1,
  2 ** 31,
  2 ** 53,
  -(2 ** 63),
  '',
  'x',
  '\u0000',
  '../../etc/passwd',
  '__proto__',
  'x'.repeat(5000),
  [],
  {},
  [[[[[[]]]]]],
  [null],
  { __proto__: 1, constructor: null, length: -1 },
];

/** The text of `value` with one to three mutations of its tree, and sometimes of its bytes. */
export function mutateJson(value: unknown, random: Random): string {
  let tree = structuredClone(value);
  for (let count = random.integer(1, 3); count > 0; --count) tree = mutateTree(tree, random);
  const text = JSON.stringify(tree);
  return random.uniform() < 0.25 ? mutateText(text, random) : text;
}

function mutateTree(node: unknown, random: Random): unknown {
  if (typeof node !== 'object' || node === null || random.uniform() < 0.1) return random.pick(hostileValues);
  if (Array.isArray(node)) return mutateArray(node, random);
  const entries: [string, unknown][] = Object.entries(node);
  if (entries.length === 0) return random.pick(hostileValues);
  const chosen = random.integer(0, entries.length - 1);
  const [key, child] = entries[chosen] ?? ['', undefined];
  const action = random.uniform();
  if (action < 0.15) entries.splice(chosen, 1);
  else if (action < 0.2) entries[chosen] = [random.pick(['', 'x', '__proto__', key.toUpperCase()]), child];
  else entries[chosen] = [key, mutateTree(child, random)];
  return Object.fromEntries(entries);
}

function mutateArray(list: readonly unknown[], random: Random): unknown {
  const items = [...list];
  if (items.length === 0) return [random.pick(hostileValues)];
  const chosen = random.integer(0, items.length - 1);
  const action = random.uniform();
  if (action < 0.15) items.splice(chosen, 1);
  else if (action < 0.3) items.splice(chosen, 0, items[chosen]);
  else if (action < 0.4) items.reverse();
  else items[chosen] = mutateTree(items[chosen], random);
  return items;
}

function mutateText(text: string, random: Random): string {
  const begin = random.integer(0, text.length);
  const end = Math.min(text.length, begin + random.integer(0, 8));
  const inserted = random.pick(['', '"', '{', '[', ',', '\\u12', '\ud800', '1e999', text.slice(0, 40)]);
  return text.slice(0, begin) + inserted + text.slice(end);
}
