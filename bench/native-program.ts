/** Small native programs of bench/native that need no other code, built on demand. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const sources = fileURLToPath(new URL('./native/', import.meta.url));
const folder = fileURLToPath(new URL('../build-bench/', import.meta.url));

/** Path of the program built from bench/native/NAME.cpp, which includes `headers` of that folder. */
export function nativeProgram(name: string, headers: readonly string[] = []): string {
  const source = `${sources}${name}.cpp`;
  const program = `${folder}${name}`;
  const isCurrent = (file: string): boolean => statSync(program).mtimeMs >= statSync(file).mtimeMs;
  const files = [source, ...headers.map((header) => `${sources}${header}`)];
  if (existsSync(program) && files.every(isCurrent)) return program;
  mkdirSync(folder, { recursive: true });
  const compiler = process.env['CXX'] ?? 'c++';
  execFileSync(compiler, ['-std=c++20', '-O2', '-pthread', source, '-o', program], { stdio: 'inherit' });
  return program;
}
