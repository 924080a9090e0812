/** Styles of the reports' pages, light and dark. */
export const chartStyles = `
:root { color-scheme: light dark; --ink: #1d2126; --faint: #d8dce1; --paper: #fff; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e7eb; --faint: #3a4149; --paper: #15181c; } }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 1rem; }
figure { margin: 1.5rem 0; }
figcaption { font-weight: 600; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0 1rem; }
dt { opacity: 0.7; }
dd { margin: 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; display: block; overflow-x: auto; }
th, td { padding: 0.2rem 0.7rem; border-bottom: 1px solid var(--faint); text-align: right; white-space: nowrap; }
th:nth-child(2), td:nth-child(2) { text-align: left; }
`;
