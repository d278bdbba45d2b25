// The table of the agreement between reviewers.

import { node } from "/page/dom.js";

const COLUMNS = ["", "Items", "Equal", "Kappa", "Both accept", "Same tags"];

// Elements for what the server's /api/agreement says.
export function agreementTable({ decisions, pairs, together }) {
  const people = Object.entries(decisions).map(([name, counts]) =>
    node("li", {}, `${name}: ${counts.accept} accepted, ${counts.reject} rejected`));
  const rows = pairs.map((pair) => row(pair.reviewers.join(" and "), pair));
  if (pairs.length > 1) rows.push(row("All", together));
  const head = node("tr", {}, ...COLUMNS.map((name) => node("th", { scope: "col" }, name)));
  return [
    node("ul", {}, ...people),
    rows.length
      ? node("table", {}, node("thead", {}, head), node("tbody", {}, ...rows))
      : node("p", {}, "No item was reviewed by two people yet."),
  ];
}

function row(name, pair) {
  const share = (value) => (value === null ? "–" : `${Math.round(100 * value)} %`);
  const kappa = pair.kappa === null ? "–" : pair.kappa.toFixed(2);
  const cells = [pair.items, share(pair.equal), kappa, pair.both_accepted, share(pair.tags)];
  return node("tr", {}, node("th", { scope: "row" }, name), ...cells.map((cell) => node("td", {}, String(cell))));
}
