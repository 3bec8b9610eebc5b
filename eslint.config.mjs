import js from '@eslint/js';
import tseslint from 'typescript-eslint';

const nodeGlobals = ['AbortController', 'URL', 'URLSearchParams', 'clearInterval', 'clearTimeout', 'console', 'process', 'setInterval', 'setTimeout'];

// What a user reads goes through l10n.t: whatever is put where it is shown, and elsewhere what reads like a sentence.
const words = /^(?!(nll|NLL|β·KL|example|report\.\w+|https:.*)$)[^]*[A-Za-z][a-z]/.source;
const sentence = /^[A-Z][a-z]+ [a-z]|[a-z] [a-z]+ [a-z]+ [a-z]/.source;
const plain = pattern => `:matches(Literal[value=/${pattern}/], TemplateLiteral:has(> TemplateElement[value.cooked=/${pattern}/]))`;
const properties = 'title|label|placeHolder|placeholder|prompt|detail|description|tooltip|hint|problem|message|saveLabel|openLabel|aria-label';
const functions = 'setText|requireTrust|withProgress|show(Error|Warning|Information)Message|setStatusBarMessage';
const notForUsers = [
  'CallExpression[callee.object.name="l10n"] > *',
  'TaggedTemplateExpression > *',
  'CallExpression[callee.property.name=/^(info|warn|error|badLine|writeSync)$/] > *', // of logs
  'NewExpression[callee.name="Error"] > *', // a mistake of ours
].join();
const plainTexts = [
  `:matches(Property[key.name=/^(${properties})$/], Property[key.value=/^(${properties})$/]) > ${plain(words)}.value`,
  `AssignmentExpression[left.property.name=/^(text|textContent|${properties})$/] > ${plain(words)}`,
  `:matches(CallExpression[callee.name=/^(${functions})$/], CallExpression[callee.property.name=/^(${functions})$/]) > ${plain(words)}`,
  `CallExpression[callee.name="h"] > ${plain(words)}:not(:first-child)`,
  `NewExpression[callee.name=/^(UserError|JsonError)$/] > ${plain(words)}`,
  `${plain(sentence)}:not(${notForUsers})`,
].map(selector => ({ selector, message: 'A text that a user reads goes through l10n.t.' }));

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
    files: ['src/**/*.ts', 'media/**/*.ts'],
    ignores: ['src/protocol/**', 'src/report/**'], // generated; documents in English
    rules: { 'no-restricted-syntax': ['error', ...plainTexts] },
  },
  {
    files: ['**/*.mjs'],
    languageOptions: { globals: Object.fromEntries(nodeGlobals.map(name => [name, 'readonly'])) },
  },
);
