/** How many inputs a fuzz test tries: each of them in `npm test`, one in twenty while somebody waits (`npm run test:unit`). */
export const inputs = (all: number): number => Math.ceil(all / (process.env.FUZZ === 'quick' ? 20 : 1));
