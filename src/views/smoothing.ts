/** Exponential moving averages. Pure. */

/** Weights below this are nothing. */
const negligible = 1e-4;

/** The average of what came so far, without the pull of the nothing that it began from; gaps stay gaps. */
export class Smoother {
  private average = 0;
  private missing = 1;

  /** `weight`: what the average so far weighs beside a new value, from 0 to less than 1. */
  constructor(private readonly weight: number) {}

  next(value: number | null): number | null {
    if (value === null || !Number.isFinite(value)) return null;
    this.average = this.weight * this.average + (1 - this.weight) * value;
    this.missing *= this.weight;
    return this.average / (1 - this.missing);
  }
}

/** How many values before one have a say in its average. */
export const memoryOf = (weight: number): number => (weight > 0 ? Math.ceil(Math.log(negligible) / Math.log(weight)) : 0);
