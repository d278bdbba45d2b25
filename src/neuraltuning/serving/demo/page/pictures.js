// Getting a picture: chosen, dropped, pasted, or one of the examples. Knows nothing of what is asked about it.

import { Problem, load } from "/page/chat.js";
import { byId, node } from "/page/dom.js";
import { pictureOf } from "/page/layers.js";

// A picture: { url, image, width, height, name, requests }. `url` holds its file, as the server gets it.
async function openPicture(file, name, requests) {
  // a file without a known ending has no type, and may be a picture all the same
  const typed = file.type.startsWith("image/") ? file : new Blob([file], { type: "image/unknown" });
  const url = await dataUrl(typed);
  let image;
  try {
    image = await pictureOf(url);
  } catch {
    throw new Problem(`${name} can't be shown as a picture; choose a PNG, JPEG, WebP or GIF file.`);
  }
  return { url, image, width: image.naturalWidth, height: image.naturalHeight, name, requests };
}

// Lets people give a picture in every way; `onPicture` gets it, `onProblem` what went wrong.
export function takePictures(session, onPicture, onProblem) {
  const take = async (giving, name, requests) => {
    try {
      onPicture(await openPicture(await giving, name, requests));
    } catch (error) {
      onProblem(error);
    }
  };
  const takeFile = (file) => file && take(file, file.name || "The picture", ownRequests(session));
  const input = byId("file");
  for (const button of document.querySelectorAll(".choose")) button.addEventListener("click", () => input.click());
  input.addEventListener("change", () => {
    takeFile(input.files[0]);
    input.value = ""; // so that the same file can be chosen again
  });
  document.addEventListener("paste", (event) => {
    const [file] = event.clipboardData.files;
    if (!file) return;
    event.preventDefault();
    takeFile(file);
  });
  const carriesFile = (event) => event.dataTransfer?.types.includes("Files");
  document.addEventListener("dragover", (event) => {
    if (!carriesFile(event)) return;
    event.preventDefault();
    document.body.classList.add("dropping");
  });
  document.addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) document.body.classList.remove("dropping");
  });
  document.addEventListener("drop", (event) => {
    document.body.classList.remove("dropping");
    if (!carriesFile(event)) return;
    event.preventDefault();
    takeFile(event.dataTransfer.files[0]);
  });

  for (const gallery of document.querySelectorAll(".gallery")) {
    gallery.replaceChildren(
      ...session.examples.map(({ picture, title, requests }) => {
        const choose = () => take(load(picture), title, requests);
        const image = node("img", { src: picture, alt: title, draggable: false });
        return node("li", {}, node("button", { class: "thumbnail", title, onclick: choose }, image));
      }),
    );
  }
}

// Requests for a picture that nobody wrote some for; those that end in a space are to be completed.
function ownRequests({ able }) {
  const requests = [
    ["segment", "Please segment the "],
    ["describe", "Describe the image."],
    ["ask", "How many objects are in the picture?"],
    ["draw", "Draw a picture: "],
  ];
  return requests.filter(([task]) => able[task]).map(([task, text]) => ({ task, text }));
}

function dataUrl(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(new Problem("The file can't be read; choose another one."));
    reader.readAsDataURL(file);
  });
}
