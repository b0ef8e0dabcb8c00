// Two things that a page read from a disk cannot do by itself.

// 1. Does this browser have a font for mathematics? If not, a subscript stands on the line, and site.css lowers it.
const probe = document.createElement("div");
probe.innerHTML = "<math><msub><mi>x</mi><mn>1</mn></msub></math>";
probe.style.visibility = "hidden";
document.body.append(probe);
const [base, low] = ["mi", "mn"].map((name) => probe.querySelector(name).getBoundingClientRect().bottom);
if (low - base < 1) document.documentElement.classList.add("no-math-font");
probe.remove();

// 2. Search results with a piece of each page around the first word that was searched for (pages.js holds the text).
function quote(item) {
  const link = item.querySelector("a");
  const page = decodeURIComponent(link.getAttribute("href")).replace(/\.html.*$/, "");
  const words = (new URLSearchParams(location.search).get("q") || "").toLowerCase().split(/\s+/).filter(Boolean);
  const text = PAGES[page] || "";
  const at = Math.min(...words.map((word) => text.toLowerCase().indexOf(word)).filter((found) => found >= 0));
  if (!Number.isFinite(at) || item.querySelector("p.context")) return;
  const begin = Math.max(0, text.lastIndexOf(" ", Math.max(0, at - 90)));
  const said = document.createElement("p");
  said.className = "context";
  const end = text.indexOf(" ", at + 160);
  said.textContent = `${begin ? "… " : ""}${text.slice(begin, end < 0 ? text.length : end).trim()}${end < 0 ? "" : " …"}`;
  item.append(said);
}
const results = document.getElementById("search-results");
if (results && typeof PAGES !== "undefined") {
  const look = () => results.querySelectorAll("ul.search > li").forEach(quote);
  new MutationObserver(look).observe(results, {childList: true, subtree: true});
  look();
}
