/** A window that moves rows of a dataset to its quarantine, one after the other, as a process of its own. */
import { readFileSync } from 'node:fs';
import { UserError } from '../../src/common/userError';
import { jsonLines } from '../../src/datasets/formats/jsonLines';
import { moveOnDisk } from '../../src/datasets/table/moveOnDisk';

const [dataset, quarantine, mine] = process.argv.slice(2) as [string, string, string];
const format = jsonLines(undefined);
const { signal } = new AbortController();

/** Where the first of the rows stands that are this window's. */
function next(): { path: string; line: number; hash: string } | undefined {
  const lines = readFileSync(dataset, 'utf8').split('\n');
  const index = lines.findIndex(line => line.includes(`"${mine} `));
  const read = index < 0 ? undefined : format.read(lines[index]!);
  return read && 'row' in read ? { path: dataset, line: index + 1, hash: read.row.hash } : undefined;
}

async function main(): Promise<void> {
  const said: string[] = [];
  for (let row = next(); row; row = next()) {
    try {
      await (await moveOnDisk([row], quarantine, signal, () => undefined)).forget();
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      said.push(error.message);
    }
  }
  console.log(JSON.stringify(said));
}

void main();
