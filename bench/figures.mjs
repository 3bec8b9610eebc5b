// Figures as scripts/bench.mjs has them, and what they are made of.

/** The value below which a share of them lies. */
export const quantile = (values, share) => [...values].sort((a, b) => a - b)[Math.min(values.length - 1, Math.floor(share * values.length))];
export const median = values => quantile(values, 0.5);

export const atMost = (name, value, limit, unit) => ({ name, value, unit, goal: `at most ${limit} ${unit}`, holds: value <= limit });
export const plain = (name, value, unit) => ({ name, value, unit, goal: null, holds: null });
