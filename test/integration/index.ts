/** Entry of the tests that run inside the extension host: VS Code calls `run`, and a rejection fails the run. */
import fs from 'node:fs';
import path from 'node:path';
import Mocha from 'mocha';

export interface TestResults {
  passed: number;
  failed: number;
  skipped: number;
  /** What mocha printed: an extension host has no terminal. */
  report: string;
}

export function run(): Promise<void> {
  const mocha = new Mocha({ timeout: 30_000, slow: 2_000, color: false, grep: process.env.SAFE_FINETUNING_TEST_GREP });
  for (const name of fs.readdirSync(__dirname).sort()) {
    if (name.endsWith('.test.js')) mocha.addFile(path.join(__dirname, name));
  }
  const printed: string[] = [];
  const indent = (test: Mocha.Runnable) => '  '.repeat(test.titlePath().length);
  return new Promise((resolve, reject) => {
    const runner = mocha.run(failures => {
      const { passes, pending } = runner.stats ?? { passes: 0, pending: 0 };
      const results: TestResults = { passed: passes, failed: failures, skipped: pending, report: printed.join('\n') };
      const file = process.env.SAFE_FINETUNING_TEST_RESULTS;
      if (file) fs.writeFileSync(file, JSON.stringify(results));
      if (failures) reject(new Error(`${failures} failing:\n${results.report}`));
      else resolve();
    });
    runner.on('suite', suite => suite.title && printed.push('  '.repeat(suite.titlePath().length) + suite.title));
    runner.on('pass', test => printed.push(`${indent(test)}✔ ${test.title} (${test.duration} ms)`));
    runner.on('pending', test => printed.push(`${indent(test)}- ${test.title}`));
    runner.on('fail', (test, error: Error) => printed.push(`${indent(test)}✖ ${test.title}\n${error.stack ?? error.message}`));
  });
}
