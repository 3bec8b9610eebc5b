/** Validators for everything that comes from the run folder, compiled from the checked-in schema on first use. */
import Ajv, { type ValidateFunction } from 'ajv';
import schema from '../../schema/messages.schema.json';
import type { Messages } from './messages';

type MessageName = Extract<keyof Messages, string>;

let ajv: Ajv | undefined;

function validator(name: MessageName): ValidateFunction {
  if (!ajv) {
    ajv = new Ajv({ discriminator: true, strict: false });
    ajv.addSchema(schema, 'messages');
  }
  return ajv.getSchema(`messages#/$defs/${name}`) as ValidateFunction;
}

/** The value as the named message, or what is wrong with it in one line. */
export function check<N extends MessageName>(
  name: N,
  value: unknown,
): { ok: true; value: NonNullable<Messages[N]> } | { ok: false; reason: string } {
  const validate = validator(name);
  if (validate(value)) {
    return { ok: true, value: value as NonNullable<Messages[N]> };
  }
  const first = validate.errors?.[0];
  return { ok: false, reason: `${first?.instancePath || 'message'} ${first?.message ?? 'is invalid'}` };
}
