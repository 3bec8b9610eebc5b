import js from '@eslint/js';
import tseslint from 'typescript-eslint';

const nodeGlobals = ['AbortController', 'URL', 'URLSearchParams', 'clearInterval', 'clearTimeout', 'console', 'process', 'setInterval', 'setTimeout'];

export default tseslint.config(
  { ignores: ['node_modules', 'host', 'dist', 'out', 'build', '.venv', '.cache', 'src/protocol/messages.ts'] },
  js.configs.recommended,
  {
    files: ['**/*.ts'],
    extends: [tseslint.configs.recommendedTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/no-non-null-assertion': 'off', // noUncheckedIndexedAccess asks for them where an index is known
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_', ignoreRestSiblings: true }],
      '@typescript-eslint/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
      'no-control-regex': 'off', // control characters are what data files go wrong by
      eqeqeq: 'error',
    },
  },
  {
    files: ['**/*.mjs'],
    languageOptions: { globals: Object.fromEntries(nodeGlobals.map(name => [name, 'readonly'])) },
  },
);
