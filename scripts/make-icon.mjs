// Draws media/icon.png, the 128 × 128 picture of the extension, from its own SVG: a shield over a falling loss.
//   node scripts/make-icon.mjs     (needs the browser of the end-to-end tests)
import { chromium } from 'playwright-core';
import { inRoot } from './paths.mjs';
import { findBrowser } from './setup.mjs';

const picture = `
<svg xmlns="http://www.w3.org/2000/svg" width="128" height="128" viewBox="0 0 128 128" fill="none">
  <defs>
    <linearGradient id="ground" x1="0" y1="0" x2="0" y2="1">
      <stop offset="0" stop-color="#17324d"/>
      <stop offset="1" stop-color="#0c1c2c"/>
    </linearGradient>
  </defs>
  <rect width="128" height="128" rx="26" fill="url(#ground)"/>
  <path d="M64 20l34 12.6v26c0 21.6-13.6 36.4-34 46.4-20.4-10-34-24.8-34-46.4v-26z" fill="#1f4a6e" stroke="#7fc4f5" stroke-width="4" stroke-linejoin="round"/>
  <path d="M43 48c7 20 18 25 42 26" stroke="#ffffff" stroke-width="6" stroke-linecap="round"/>
  <circle cx="43" cy="48" r="5.5" fill="#ffb454"/>
  <circle cx="85" cy="74" r="5.5" fill="#6fdc8c"/>
</svg>`;

const browser = await chromium.launch({ executablePath: findBrowser(), args: ['--no-sandbox'] });
try {
  const page = await browser.newPage({ viewport: { width: 128, height: 128 } });
  await page.setContent(`<body style="margin:0;background:transparent">${picture}</body>`);
  await page.screenshot({ path: inRoot('media', 'icon.png'), omitBackground: true });
} finally {
  await browser.close();
}
