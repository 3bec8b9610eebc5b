import assert from 'node:assert/strict';
import { setTimeout } from 'node:timers/promises';
import { RequestQueue } from '../../src/risk/requestQueue';
import { until } from './until';

interface Request {
  name: string;
  probe?: { judgeId: string };
}

describe('the queue of the worker', function () {
  this.timeout(10_000);
  const by = (judgeId: string, name = judgeId): Request => ({ name, probe: { judgeId } });
  let served: string[];
  let loaded: string | undefined;
  let onServed: (request: Request) => void;

  beforeEach(() => {
    served = [];
    loaded = undefined;
    onServed = () => undefined;
  });

  function queueWith(patienceMs?: number): RequestQueue<Request> {
    const serve = async (request: Request): Promise<void> => {
      await setTimeout(5);
      loaded = request.probe?.judgeId ?? loaded;
      served.push(request.name);
      onServed(request);
    };
    return new RequestQueue(serve, ({ probe }) => loaded !== undefined && loaded !== probe?.judgeId, patienceMs);
  }

  it('serves the classifier first, then the loaded probe, then others', async () => {
    const queue = queueWith();
    for (const request of [by('a', 'a1'), by('b', 'b1'), by('a', 'a2'), { name: 'c1' }, by('b', 'b2'), { name: 'c2' }, by('a', 'a3')]) queue.add(request);
    await until(() => served.length === 7);
    assert.deepEqual(served, ['a1', 'c1', 'c2', 'a2', 'a3', 'b1', 'b2']);
  });

  it('loads each probe once for two that ask batch by batch', async () => {
    const queue = queueWith();
    let batches = 6;
    onServed = request => {
      if (batches-- > 0) void setTimeout(10).then(() => queue.add(request));
    };
    queue.add(by('a'));
    queue.add(by('b'));
    await until(() => served.length === 8);
    assert.equal(served.join(''), 'aaaaaaab');
  });

  it('lets nobody wait for ever', async () => {
    const queue = queueWith(50);
    onServed = request => {
      if (!served.includes('b')) queue.add(request);
    };
    queue.add(by('a'));
    queue.add({ name: 'c' });
    queue.add(by('b'));
    await until(() => served.includes('b'));
  });
});
