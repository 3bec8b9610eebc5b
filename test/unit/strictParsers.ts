/** Parsers that forgive nothing, of the trainer's Python: for what is written as XML and YAML. */
import { execFileSync } from 'node:child_process';
import { python } from '../../scripts/paths.mjs';

const script = `
import json, sys
import xml.etree.ElementTree as tree
import yaml
kind, texts = json.load(sys.stdin)
read = {"xml": lambda text: "".join(tree.fromstring(text.encode()).itertext()), "yaml": yaml.safe_load}[kind]
def result(text):
    try:
        return {"value": read(text)}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}
print(json.dumps([result(text) for text in texts]))
`;

function parse(kind: 'xml' | 'yaml', texts: readonly string[]): unknown[] {
  const output = execFileSync(python, ['-c', script], { input: JSON.stringify([kind, texts]), maxBuffer: 1e9, encoding: 'utf8', env: { ...process.env, PYTHONUTF8: '1' } });
  return (JSON.parse(output) as { value?: unknown; error?: string }[]).map(({ value, error }, index) => {
    if (error) throw new Error(`${error}\n${texts[index]!.slice(0, 2000)}`);
    return value;
  });
}

/** The texts of each document. */
export const parseXml = (documents: readonly string[]): string[] => parse('xml', documents) as string[];

export const parseYaml = (documents: readonly string[]): unknown[] => parse('yaml', documents);
