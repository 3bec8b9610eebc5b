/** A window that marks rows as reviewed, one after the other, as a process of its own: LIST NAME ROWS. */
import { changeFile } from '../../src/datasets/oneWindow';
import { withReviewed } from '../../src/datasets/reviewedFile';

const [list, name, rows] = process.argv.slice(2) as [string, string, string];

async function main(): Promise<void> {
  for (let row = 0; row < Number(rows); row++) {
    const hash = row.toString(16).padStart(15, '0') + name;
    await changeFile(list, text => withReviewed(text, [{ hash, note: `line ${row + 1}` }]));
  }
}

void main();
