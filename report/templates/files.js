// Files inside the page: a link takes its file out of the one embedded archive, so that a copied report needs no folder.
(() => {
  const TYPES = { csv: "text/csv", tex: "text/plain", md: "text/markdown", svg: "image/svg+xml", pdf: "application/pdf", png: "image/png" };
  const [END, ENTRY, LOCAL] = [0x06054b50, 0x02014b50, 22];

  // The bytes of the archive, and where each member begins in it, from the list at its end.
  function members() {
    const text = atob(document.getElementById("archive").href.split(",")[1]);
    const bytes = Uint8Array.from(text, (letter) => letter.charCodeAt(0));
    const view = new DataView(bytes.buffer);
    const end = bytes.length - LOCAL;
    if (view.getUint32(end, true) !== END) throw new Error("the embedded archive is damaged");
    const places = new Map();
    let at = view.getUint32(end + 16, true);
    while (view.getUint32(at, true) === ENTRY) {
      const [name, extra, comment] = [28, 30, 32].map((field) => view.getUint16(at + field, true));
      const start = view.getUint32(at + 42, true);
      const content = start + 30 + view.getUint16(start + 26, true) + view.getUint16(start + 28, true);
      const size = view.getUint32(at + 20, true);
      places.set(new TextDecoder().decode(bytes.subarray(at + 46, at + 46 + name)), bytes.subarray(content, content + size));
      at += 46 + name + extra + comment;
    }
    return places;
  }

  let inside = null;
  async function save(link) {
    inside = inside || members();
    const packed = new Blob([inside.get(link.dataset.file)]).stream();
    const content = await new Response(packed.pipeThrough(new DecompressionStream("deflate-raw"))).blob();
    const type = TYPES[link.dataset.file.split(".").pop()] || "";
    const address = URL.createObjectURL(new Blob([content], { type }));
    Object.assign(document.createElement("a"), { href: address, download: link.download }).click();
    setTimeout(() => URL.revokeObjectURL(address), 60000);
  }

  document.addEventListener("click", (event) => {
    const link = event.target.closest ? event.target.closest("a[data-file]") : null;
    if (!link) return;
    event.preventDefault();
    save(link);
  });
})();
