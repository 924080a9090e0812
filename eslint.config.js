// @ts-check
import js from '@eslint/js';
import { defineConfig } from 'eslint/config';
import ts from 'typescript-eslint';
import { folderImports } from './scripts/eslint-folder-imports.mjs';

const nodeGlobals = Object.fromEntries(
  ['AbortController', 'Buffer', 'URL', 'console', 'performance', 'process', 'setImmediate', 'setTimeout'].map(
    (name) => /** @type {const} */ ([name, 'readonly']),
  ),
);

export default defineConfig(
  { ignores: ['dist/', 'runs/', 'build/', 'build-*/', 'coverage/', '.demo/'] },
  { linterOptions: { reportUnusedDisableDirectives: 'error' } },
  js.configs.recommended,
  ts.configs.strictTypeChecked,
  ts.configs.stylisticTypeChecked,
  {
    languageOptions: { parserOptions: { projectService: true } },
    rules: {
      eqeqeq: 'error',
      'no-warning-comments': ['error', { terms: ['todo', 'fixme', 'xxx'] }],
      'max-lines': ['error', 600],
      'max-params': ['error', 6],
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/switch-exhaustiveness-check': [
        'error',
        { considerDefaultExhaustiveForUnions: true },
      ],
      // Brackets mark names that come from outside (environment, JSON), as opposed to our own.
      '@typescript-eslint/dot-notation': ['error', { allowIndexSignaturePropertyAccess: true }],
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true }],
      // Typed arrays are read at positions that loops have bounded; a check of each would be noise.
      '@typescript-eslint/no-non-null-assertion': 'off',
      // Numbers in messages are the normal case here.
      '@typescript-eslint/restrict-template-expressions': [
        'error',
        { allowNumber: true, allowBoolean: true },
      ],
      // Loops over typed arrays often need the position beside the element.
      '@typescript-eslint/prefer-for-of': 'off',
    },
  },
  {
    files: ['**/*.{js,mjs}'],
    extends: [ts.configs.disableTypeChecked],
    languageOptions: { globals: nodeGlobals },
  },
  {
    files: ['lib/**/*.ts'],
    plugins: { elasticlm: { rules: { 'folder-imports': folderImports } } },
    rules: { 'elasticlm/folder-imports': 'error' },
  },
  {
    files: ['lib/**/*.ts'],
    ignores: ['lib/cli/**', 'lib/server/**'],
    rules: { 'no-console': 'error' },
  },
);
