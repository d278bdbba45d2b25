// Files for people to keep: masks, COCO annotations, pictures. Knows nothing of the page.

import { node } from "/page/dom.js";

// Saves a blob, or what an address holds, under a name.
export function save(content, name) {
  const address = typeof content === "string" ? content : URL.createObjectURL(content);
  node("a", { href: address, download: name }).click();
  if (address !== content) setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

export async function saveCanvas(canvas, name) {
  save(await new Promise((resolve) => canvas.toBlob(resolve, "image/png")), name);
}

// Objects of one picture as COCO's annotations; names that are alike are one category.
export function cocoJson(picture, objects, names) {
  const categories = [...new Set(names.map((name) => name.toLowerCase()))];
  const content = {
    images: [{ id: 1, file_name: picture.name, width: picture.width, height: picture.height }],
    categories: categories.map((name, place) => ({ id: place + 1, name })),
    annotations: objects.map((object, place) => ({
      id: place + 1,
      image_id: 1,
      category_id: categories.indexOf(names[place].toLowerCase()) + 1,
      segmentation: object.segmentation,
      bbox: object.bbox,
      area: object.area,
      iscrowd: 0,
      score: object.score,
    })),
  };
  return new Blob([JSON.stringify(content, null, 2)], { type: "application/json" });
}

// "The left dog" as a part of a file's name.
export const fileName = (text) => text.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "") || "object";
