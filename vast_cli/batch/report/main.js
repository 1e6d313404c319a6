// Builds the page and handles the keyboard.
const jobs = jobTable();
document.getElementById("page").append(
  header(),
  h("main", {}, groups(jobs.show), jobs.node),
  h(
    "footer",
    {},
    h("p", { class: "keys" }, "Keys: ", [["j", "next job"], ["k", "previous job"], ["Enter", "open or close"], ["/", "find"]].map(([key, text]) => [h("kbd", {}, key), ` ${text}  `])),
    h("p", {}, `Made by ${data.version ?? "vast"} (${data.schema}). The page uses no network and stores nothing; videos and logs open from its folder.`),
  ),
);
document.title = data.title;

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  if (event.target.matches?.("input, select, textarea, video")) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  if (event.key === "j") jobs.move(1);
  else if (event.key === "k") jobs.move(-1);
  else if (event.key === "/") jobs.search.focus();
  else return;
  event.preventDefault();
});
