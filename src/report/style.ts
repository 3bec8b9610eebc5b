/** The report's style sheet: one column to read, wide tables and charts in it, light and dark, and for paper. */
import { svgChartStyle } from './svgChart';

export const reportStyle = `${svgChartStyle()}
:root{color-scheme:light dark;--text:#1f2328;--quiet:#59626d;--rule:#d9dde2;--soft:#f5f6f8;--page:#fff;--good:#1d6b33;--bad:#b3261e;--link:#1f6fb4}
@media screen and (prefers-color-scheme:dark){:root{--text:#e6e8eb;--quiet:#a3abb5;--rule:#353b43;--soft:#1d2126;--page:#16191d;--good:#7bc98c;--bad:#f2837b;--link:#6cb2f2}}
*{box-sizing:border-box}
html{background:var(--page);color:var(--text);font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;-webkit-text-size-adjust:100%}
body{max-width:52rem;margin:0 auto;padding:3.5rem 1.5rem 4rem;overflow-wrap:anywhere}
h1{font-size:2rem;line-height:1.2;font-weight:650;letter-spacing:-.015em;margin:.25rem 0 .75rem}
h2{font-size:1.25rem;line-height:1.3;font-weight:650;letter-spacing:-.005em;margin:3.25rem 0 .75rem;padding-top:1rem;border-top:1px solid var(--rule)}
h3{font-size:1rem;font-weight:650;margin:2rem 0 .5rem}
p{margin:.75rem 0;max-width:42rem}
.kind{margin:0;color:var(--quiet);font-size:.875rem}
.status{margin:0 0 1.75rem}
.status b{font-weight:650}
.note{color:var(--quiet);font-size:.875rem;line-height:1.5}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.3rem 1.5rem;margin:1rem 0;font-size:.9375rem}
dl.head{grid-template-columns:max-content 1fr max-content 1fr;font-size:.875rem}
dt{color:var(--quiet)}
dd{margin:0;font-variant-numeric:tabular-nums}
.wide{overflow-x:auto;margin:1.25rem 0}
table{border-collapse:collapse;width:100%;font-size:.875rem;line-height:1.45;font-variant-numeric:tabular-nums;overflow-wrap:normal}
caption{text-align:left;color:var(--quiet);font-size:.875rem;padding:0 0 .5rem}
th,td{text-align:left;vertical-align:baseline;padding:.4rem 1.25rem .4rem 0;border-bottom:1px solid var(--rule)}
th:last-child,td:last-child{padding-right:0}
thead th,thead td{color:var(--quiet);font-weight:500;border-bottom-color:var(--quiet)}
tbody th{font-weight:500}
.narrow th,.narrow td,tbody td.number{white-space:nowrap}
.number{text-align:right;white-space:nowrap}
tbody .code{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;font-size:.78rem;white-space:nowrap}
.better{color:var(--good);font-weight:650}
.worse{color:var(--bad);font-weight:650}
.result{font-size:.9375rem}.result td,.result th{white-space:nowrap}
.narrow{width:auto;min-width:22rem}
.result th,.result td{padding-top:.55rem;padding-bottom:.55rem}
figure{margin:1.75rem 0;overflow-x:auto}
figcaption{color:var(--quiet);font-size:.875rem}
.chart{display:block;width:100%;min-width:34rem;height:auto}
ul{padding-left:1.25rem;margin:.75rem 0;max-width:42rem}
li{margin:.25rem 0}
aside{border-left:3px solid var(--rule);padding:.1rem 0 .1rem 1rem;margin:1.5rem 0}
pre{background:var(--soft);border-radius:6px;padding:.85rem 1rem;margin:.75rem 0;overflow-x:auto;font:.8125rem/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;white-space:pre-wrap}
details{margin:.75rem 0}
summary{cursor:pointer;color:var(--link);width:fit-content}
summary:focus-visible,pre:focus-visible,.wide:focus-visible{outline:2px solid var(--link);outline-offset:3px}
footer{margin-top:3.5rem;padding-top:1rem;border-top:1px solid var(--rule);color:var(--quiet);font-size:.875rem}
@media (max-width:34rem){body{padding:1.5rem 1rem 2.5rem}dl,dl.head{grid-template-columns:1fr;gap:0}dd{margin-bottom:.6rem}th,td{padding-right:.75rem}}
@media print{@page{margin:18mm 16mm}html{font-size:10.5pt}body{max-width:none;padding:0}h2{break-after:avoid}figure,tr,dl,pre{break-inside:avoid}details::details-content{content-visibility:visible;display:block}summary{color:inherit;list-style:none}}
`;
