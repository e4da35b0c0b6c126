"use strict";

const REFRESH_MS = 2000;
const SHOWN = 15;
const byId = (id) => document.getElementById(id);

function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function say(id, text, bad) {
  const status = byId(id);
  status.textContent = text;
  status.classList.toggle("bad", Boolean(bad));
}

let toastTimer;
function toast(text, bad) {
  const box = byId("toast");
  box.textContent = text;
  box.className = bad ? "shown bad" : "shown";
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => { box.className = ""; }, 3500);
}

// The body of an answer that is no success says why.
async function get(path) {
  const response = await fetch(path, { cache: "no-store" });
  if (!response.ok) throw new Error((await response.text()).trim() || `${response.status} ${response.statusText}`);
  return response;
}

async function vote(button, emoji) {
  button.disabled = true;
  let good = false;
  try {
    const response = await get(`/api/vote?choice=${encodeURIComponent(emoji.shortcode)}`);
    const version = response.headers.get("x-voting-version");
    toast(`${emoji.unicode} counted${version ? ` by voting ${version}` : ""}`);
    good = true;
  } catch (error) {
    toast(`${emoji.unicode} not counted: ${error.message}`, true);
  }
  button.disabled = false;
  button.classList.add(good ? "good" : "bad");
  setTimeout(() => button.classList.remove("good", "bad"), 900);
  refresh();
}

async function list() {
  try {
    const emoji = await (await get("/api/list")).json();
    byId("emoji").replaceChildren(...emoji.map((one) => {
      const item = element("li");
      const button = element("button", "", one.unicode);
      button.type = "button";
      button.title = one.shortcode;
      button.setAttribute("aria-label", `vote for ${one.shortcode.replace(/[:_]/g, " ").trim()}`);
      button.addEventListener("click", () => vote(button, one));
      item.append(button);
      return item;
    }));
    say("list-status", "");
  } catch (error) {
    say("list-status", `No list, trying again: ${error.message}`, true);
    setTimeout(list, REFRESH_MS);
  }
}

function bar(value, most) {
  const progress = element("progress");
  progress.max = most;
  progress.value = value;
  return progress;
}

function showBoard(ranked) {
  const total = ranked.reduce((sum, one) => sum + one.votes, 0);
  byId("total").textContent = `${total} votes`;
  byId("board").replaceChildren(...ranked.slice(0, SHOWN).map((one, place) => {
    const item = element("li");
    item.title = one.shortcode;
    item.append(
      element("span", "rank", `${place + 1}`),
      element("span", "face", one.unicode),
      bar(one.votes, ranked[0].votes),
      element("span", "votes", one.votes),
    );
    return item;
  }));
  say("board-status", ranked.length ? "" : "No votes yet.");
}

function showSplit(split) {
  const versions = Object.entries(split).sort();
  const total = versions.reduce((sum, [, votes]) => sum + votes, 0);
  byId("split").replaceChildren(...versions.map(([version, votes]) => {
    const row = element("p");
    row.append(element("span", "", version), bar(votes, total), element("span", "", `${Math.round((100 * votes) / total)} %`));
    return row;
  }));
}

let refreshing = false;
async function refresh() {
  if (refreshing) return;
  refreshing = true;
  try {
    showBoard(await (await get("/api/leaderboard")).json());
    showSplit(await (await get("/api/split")).json());
  } catch (error) {
    say("board-status", `Not live at the moment: ${error.message}`, true);
  }
  refreshing = false;
}

list();
refresh();
setInterval(() => { if (!document.hidden) refresh(); }, REFRESH_MS);
if (location.pathname === "/leaderboard") byId("leaderboard").scrollIntoView();
