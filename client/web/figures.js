/** Shows the stages of the latency as a bar and a list. */

/**
 * @param {{total: HTMLElement, bar: HTMLElement, parts: HTMLElement}} elements
 * @param {import('./latency.js').Stage[]} stages
 */
export function showStages({ total, bar, parts }, stages) {
  // The stages are rounded before they are summed, so that the shown figures add up.
  const shown = stages.map(({ name, ms }) => ({ name, ms: ms === null ? null : Math.round(ms) }));
  const known = shown.every(({ ms, name }) => ms !== null || name === 'microphone');
  const sum = shown.reduce((all, { ms }) => all + (ms ?? 0), 0);
  total.textContent = known ? String(sum) : '–';
  bar.replaceChildren(...shown.map(({ ms }, i) => segment(ms ?? 0, i)));
  parts.replaceChildren(...shown.map(({ name, ms }, i) => term(name, ms, i)));
}

function segment(ms, i) {
  const span = document.createElement('span');
  span.dataset.part = String(i);
  span.style.flexGrow = String(ms);
  return span;
}

function term(name, ms, i) {
  const [row, dt, dd] = ['div', 'dt', 'dd'].map((tag) => document.createElement(tag));
  row.dataset.part = String(i);
  dt.textContent = name;
  dd.textContent = ms === null ? 'unknown' : `${ms} ms`;
  row.append(dt, dd);
  return row;
}
