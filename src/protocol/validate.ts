/** Validation of everything that comes from the run folder or the trainer's output. */
import type { ErrorObject } from 'ajv';
import type { Messages } from './messages';
import * as validators from './validators';

type Validated = keyof typeof validators & keyof Messages;

interface Validator {
  (value: unknown): boolean;
  errors?: ErrorObject[] | null;
}

/** The value as the named message, or what is wrong with it in one line. */
export function check<N extends Validated>(
  name: N,
  value: unknown,
): { ok: true; value: NonNullable<Messages[N]> } | { ok: false; reason: string } {
  const validate = validators[name] as Validator;
  if (validate(value)) {
    return { ok: true, value: value as NonNullable<Messages[N]> };
  }
  const first = validate.errors?.[0];
  return { ok: false, reason: `${first?.instancePath || 'message'} ${first?.message ?? 'is invalid'}` };
}
