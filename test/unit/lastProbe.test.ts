import assert from 'node:assert/strict';
import { cpSync, mkdtempSync, readFileSync, renameSync, rmSync, statSync, utimesSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { ExportedProbe } from '../../src/risk/exportedProbe';
import { LastProbe } from '../../src/risk/lastProbe';
import type { ProbeSource } from '../../src/risk/probeSource';
import { until } from './until';

const fixtures = path.join(__dirname, '..', '..', 'trainer', 'tests', 'fixtures', 'probe');
const { judge: judgeId } = JSON.parse(readFileSync(path.join(fixtures, 'probe.json'), 'utf8')) as { judge: string };
const asked = [[{ role: 'user', content: 'Where is my parcel?' }]];

describe('the probe that was asked last', function () {
  this.timeout(60_000); // processors may be busy
  const load = ExportedProbe.load.bind(ExportedProbe);
  let source: ProbeSource;
  let loads: number;
  let releases: number;
  let probe: LastProbe;

  beforeEach(() => {
    source = { folder: mkdtempSync(path.join(os.tmpdir(), 'probe-')), judgeId };
    cpSync(fixtures, source.folder, { recursive: true });
    loads = releases = 0;
    ExportedProbe.load = async (...given) => {
      loads++;
      const loaded = await load(...given);
      const release = loaded.release.bind(loaded);
      loaded.release = () => {
        releases++;
        return release();
      };
      return loaded;
    };
    probe = new LastProbe(2);
  });
  afterEach(async () => {
    ExportedProbe.load = load;
    await probe.release();
    rmSync(source.folder, { recursive: true });
  });

  it('is loaded once', async () => {
    assert.equal(probe.isAnother(source), false, 'there is none yet');
    for (let i = 0; i < 3; i++) assert.equal((await probe.score(source, asked)).length, 1);
    assert.equal(loads, 1);
    assert.equal(probe.isAnother(source), false);
    assert.equal(probe.isAnother({ ...source, judgeId: 'probe-2' }), true);
  });

  it('is one that the trainer keeps, as it was asked for', async () => {
    utimesSync(source.folder, 1e9, 1e9);
    await probe.score(source, asked);
    assert.ok(Date.now() - statSync(source.folder).mtimeMs < 60_000);
  });

  it('is released when nobody asks it for a while, and loaded again when it is asked', async () => {
    probe = new LastProbe(2, 50);
    await probe.score(source, asked);
    await until(() => releases === 1);
    assert.equal(probe.isAnother({ ...source, judgeId: 'probe-2' }), false);
    assert.equal((await probe.score(source, asked)).length, 1);
    assert.equal(loads, 2);
  });

  it('is not tried again where it could not be loaded, until somebody asks for it', async () => {
    const file = path.join(source.folder, 'probe.onnx');
    renameSync(file, `${file}.away`);
    await assert.rejects(probe.score(source, asked), /ENOENT/);
    renameSync(`${file}.away`, file);
    await assert.rejects(probe.score(source, asked), /ENOENT/);
    assert.equal(loads, 1);
    probe.retry();
    assert.equal((await probe.score(source, asked)).length, 1);
    probe.retry();
    await probe.score(source, asked);
    assert.equal(loads, 2, 'one that works is kept');
  });
});
