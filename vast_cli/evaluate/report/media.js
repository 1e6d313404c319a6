// Images and videos are in the page as base64, in elements that browsers do not parse, and decoded when they are near
// the visible part of the page.
const objectUrls = new Map();
const pageParsed = new Promise((resolve) => {
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", resolve, { once: true });
  else resolve();
});

function decode(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const bytes = atob(text);
  const out = new Uint8Array(bytes.length);
  for (let index = 0; index < bytes.length; index++) out[index] = bytes.charCodeAt(index);
  return out;
}

// address of a file inside the page or beside it
async function addressOf(source, mime) {
  if (source.url) return source.url;
  if (objectUrls.has(source.blob)) return objectUrls.get(source.blob);
  if (!document.getElementById(source.blob)) await pageParsed; // the end of a large page may still be loading
  if (objectUrls.has(source.blob)) return objectUrls.get(source.blob);
  const element = document.getElementById(source.blob);
  const address = URL.createObjectURL(new Blob([decode(element.textContent)], { type: mime }));
  element.remove(); // one copy in memory is enough
  objectUrls.set(source.blob, address);
  return address;
}

const pending = new Map();
const observer = new IntersectionObserver(
  (entries) => {
    for (const entry of entries) if (entry.isIntersecting) loadNow(entry.target);
  },
  { rootMargin: "600px 0px" },
);

function loadNow(node) {
  const load = pending.get(node);
  if (!load) return;
  pending.delete(node);
  observer.unobserve(node);
  load();
}

function whenVisible(node, load) {
  pending.set(node, load);
  observer.observe(node);
}
