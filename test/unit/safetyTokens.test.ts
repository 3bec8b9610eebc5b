/** The safety tokens that a run chose: listed where a person looks, and copied to where they are edited. */
import assert from 'node:assert';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { applyEdits, parse } from 'jsonc-parser';
import { readSafetyTokens, safetyTokensFile } from '../../src/trainerHost/runFolder';
import { safetyTokenEdits } from '../../src/views/safetyTokenList';

describe('safety tokens', () => {
  let folder: string;
  beforeEach(() => (folder = fs.mkdtempSync(path.join(os.tmpdir(), 'tokens-'))));
  afterEach(() => fs.rmSync(folder, { recursive: true, force: true }));

  it('are read as the trainer writes them', () => {
    assert.deepStrictEqual(readSafetyTokens(folder), []);
    const listed = [{ id: 7, text: ' sorry', refusing: 0.5, ordinary: 0.001 }, { id: 8, text: 'I', refusing: 0.25, ordinary: 0.01 }];
    fs.writeFileSync(safetyTokensFile(folder), JSON.stringify([...listed, { id: 9 }, null]));
    assert.deepStrictEqual(readSafetyTokens(folder), listed);
    for (const damaged of ['{', '{}', '']) {
      fs.writeFileSync(safetyTokensFile(folder), damaged);
      assert.deepStrictEqual(readSafetyTokens(folder), []);
    }
  });

  it('become a list of the configuration, whose comments stay', () => {
    const tokens = [' sorry', 'I'];
    for (const section of ['', ', "safetyTokens": null', ', "safetyTokens": {"weight": 2 /* strong */}', ', "safetyTokens": {"tokens": ["No"], "weight": 2},']) {
      const text = `{\n  // which model\n  "model": "m", "method": "safety-tokens"${section}\n}\n`;
      const changed = applyEdits(text, safetyTokenEdits(text, tokens) ?? assert.fail('it is a configuration'));
      const value = parse(changed, [], { allowTrailingComma: true }) as { model: string; safetyTokens: { tokens: string[]; weight?: number } };
      assert.deepStrictEqual([value.model, value.safetyTokens.tokens], ['m', tokens], changed);
      assert.strictEqual(value.safetyTokens.weight, section.includes('weight') ? 2 : undefined, changed);
      assert.ok(changed.includes('// which model') && changed.includes('strong') === section.includes('strong'), changed);
    }
    assert.strictEqual(safetyTokenEdits('{ "model": ', tokens), undefined);
    assert.strictEqual(safetyTokenEdits('[]', tokens), undefined);
  });
});
