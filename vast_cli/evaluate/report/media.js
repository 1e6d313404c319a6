// Pictures and videos lie in the page as base64, in elements a browser does not look into, until somebody looks.
const objectUrls = new Map();
const parsed = new Promise((done) => {
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", done, { once: true });
  else done();
});

function decode(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const bytes = atob(text);
  const out = new Uint8Array(bytes.length);
  for (let index = 0; index < bytes.length; index++) out[index] = bytes.charCodeAt(index);
  return out;
}

// address of something inside the page or beside it
async function addressOf(source, mime) {
  if (source.url) return source.url;
  if (objectUrls.has(source.blob)) return objectUrls.get(source.blob);
  if (!document.getElementById(source.blob)) await parsed; // the end of a large page may still be on its way
  if (objectUrls.has(source.blob)) return objectUrls.get(source.blob);
  const element = document.getElementById(source.blob);
  const address = URL.createObjectURL(new Blob([decode(element.textContent)], { type: mime }));
  element.remove(); // one copy in memory is enough
  objectUrls.set(source.blob, address);
  return address;
}

const waiting = new Map();
const watcher = new IntersectionObserver(
  (entries) => {
    for (const entry of entries) if (entry.isIntersecting) wake(entry.target);
  },
  { rootMargin: "600px 0px" },
);

function wake(node) {
  const load = waiting.get(node);
  if (!load) return;
  waiting.delete(node);
  watcher.unobserve(node);
  load();
}

function whenSeen(node, load) {
  waiting.set(node, load);
  watcher.observe(node);
}
